"""Index of the keys of a landed table: the data files that can hold a key. Derived from the files, kept between runs.

A run is an Arrow file with the 64-bit hashes of keys, ascending, and for each the data file that has it. New rows are a
new run, and runs of about one size are merged, so a lookup searches a number of runs that grows with the logarithm of
the rows. A hash that several keys share only makes a lookup read one more file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from wellspring.lake.port import Table
from wellspring.runtime.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

STATE_FILE = "state.json"
_FORMAT = 1
_SMALL_ROWS = 4096
"""Runs of at most so many rows are one level: a new small run is merged with the small one that exists."""
_RUNS_PER_LEVEL = 4
_MAX_RUN_ROWS = 16_000_000
"""Runs are not merged into one with more rows: a merge holds it in memory, 12 bytes a row."""
_BATCH_ROWS = 2_000_000
"""Rows of the table after which a run is written while an index is made."""


class _Run(NamedTuple):
    name: str
    rows: int

    @property
    def level(self) -> int:
        level, rows = 0, _SMALL_ROWS
        while self.rows > rows:
            level, rows = level + 1, rows * _RUNS_PER_LEVEL
        return level


class _State(NamedTuple):
    """head: the newest snapshot whose rows are in the runs."""

    head: int | None
    runs: tuple[_Run, ...]


class KeyIndex:
    """The index of one table for one key. schema: names and types of the key, to which stored values are cast.

    folder: of its files. One writer at a time. An index that cannot be read, or whose hashes this version of the
    library computes in another way, is made anew from the data files.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._runs: dict[str, _OpenRun] = {}

    def refresh(self, table: Table, newest: int) -> None:
        """Add the rows that came with the snapshots up to `newest`, or make the index anew if it has other rows."""
        state = self._read_state()
        fresh: list[int] = []
        for snapshot in table.iter_ancestry(newest):
            if snapshot.snapshot_id == state.head:
                break
            fresh.append(snapshot.snapshot_id)
        else:
            # Snapshots that were discarded, or an index that does not exist yet.
            state = _State(None, ())
        if not fresh:
            return
        runs = list(state.runs)
        for entries in self._group_entries(table, reversed(fresh)):
            runs.append(self._write_run(entries))
        self._write_state(_State(newest, tuple(self._merge_runs(runs))))

    def find_files(self, keys: pa.RecordBatch | pa.Table) -> set[str]:
        """Return the data files that can hold one of the keys, of the rows up to the latest `refresh`."""
        import numpy as np

        if not keys.num_rows:
            return set()
        hashes = np.unique(_hash_keys(keys, self._schema))
        return set().union(*(self._open_run(run).find_files(hashes) for run in self._read_state().runs))

    def _group_entries(self, table: Table, snapshots: Iterable[int]) -> Iterator[pa.Table]:
        """Yield hashes and files of the rows that snapshots added, unsorted, some million rows at a time."""
        import pyarrow as pa

        group: list[pa.Table] = []
        rows = 0
        for snapshot_id in snapshots:
            for file in table.files_added_by(snapshot_id):
                for batch in table.read_file_columns(file, self._schema):
                    hashes = pa.array(_hash_keys(batch, self._schema))
                    group.append(pa.table({"hash": hashes, "file": _repeat_name(file, len(hashes))}))
                    rows += len(hashes)
                    if rows >= _BATCH_ROWS:
                        yield pa.concat_tables(group)
                        group, rows = [], 0
        if group:
            yield pa.concat_tables(group)

    def _merge_runs(self, runs: list[_Run]) -> list[_Run]:
        import pyarrow as pa

        while True:
            by_level: dict[int, list[_Run]] = {}
            for run in runs:
                by_level.setdefault(run.level, []).append(run)
            merged = next(
                (
                    level_runs
                    for level, level_runs in sorted(by_level.items())
                    if len(level_runs) >= (2 if level == 0 else _RUNS_PER_LEVEL)
                    and sum(run.rows for run in level_runs) <= _MAX_RUN_ROWS
                ),
                None,
            )
            if merged is None:
                return runs
            entries = pa.concat_tables([self._open_run(run).table for run in merged])
            runs = [run for run in runs if run not in merged] + [self._write_run(entries)]

    def _write_run(self, entries: pa.Table) -> _Run:
        import pyarrow as pa

        # One dictionary and one batch, so that a reader maps two plain arrays.
        combined = entries.unify_dictionaries().combine_chunks().sort_by("hash").combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, combined.schema) as writer:
            writer.write_table(combined)
        run = _Run(f"{uuid.uuid4().hex}.arrow", combined.num_rows)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / run.name, cast(bytes, sink.getvalue()))
        return run

    def _open_run(self, run: _Run) -> _OpenRun:
        if run.name not in self._runs:
            self._runs[run.name] = _OpenRun(self._folder / run.name)
        return self._runs[run.name]

    def _read_state(self) -> _State:
        try:
            value = json.loads((self._folder / STATE_FILE).read_bytes())
        except (FileNotFoundError, ValueError):
            return _State(None, ())
        runs = tuple(_Run(name, rows) for name, rows in value.get("runs", ()))
        is_complete = all((self._folder / run.name).is_file() for run in runs)
        if value.get("basis") != self._basis or not is_complete:
            return _State(None, ())
        return _State(None if value["head"] is None else int(value["head"]), runs)

    def _write_state(self, state: _State) -> None:
        value = {"basis": self._basis, "head": str(state.head), "runs": [list(run) for run in state.runs]}
        write_atomically(self._folder / STATE_FILE, json.dumps(value).encode())
        current = {run.name for run in state.runs}
        for path in self._folder.glob("*.arrow"):
            if path.name not in current:
                path.unlink()
                self._runs.pop(path.name, None)

    @cached_property
    def _basis(self) -> dict[str, Any]:
        """What the hashes depend on: key, library, and the hash of a sample, which may depend on the processor."""
        import polars as pl
        import pyarrow as pa

        sample = pa.table({"text": ["", "sample", "a" * 100], "number": [0, 1, 2**62]})
        return {
            "format": _FORMAT,
            "key": [[field.name, str(field.type)] for field in self._schema],
            "polars": pl.__version__,
            "sample": [str(value) for value in _hash_keys(sample, sample.schema)],
        }


class _OpenRun:
    """A run that is mapped into memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            self.table = pa.ipc.open_file(source).read_all()
        self._hashes = self.table["hash"].chunk(0).to_numpy()
        self._files = cast(Any, self.table["file"].chunk(0))

    def find_files(self, hashes: np.ndarray[Any, Any]) -> set[str]:
        """Return the files with one of the hashes, which are ascending and distinct."""
        import numpy as np

        first = np.searchsorted(self._hashes, hashes, "left")
        lengths = np.searchsorted(self._hashes, hashes, "right") - first
        first, lengths = first[lengths > 0], lengths[lengths > 0]
        if not len(first):
            return set()
        offsets = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        places = np.unique(self._files.indices.to_numpy()[offsets + np.arange(len(offsets))])
        return set(self._files.dictionary.take(places).to_pylist())


def _hash_keys(keys: pa.RecordBatch | pa.Table, schema: pa.Schema) -> np.ndarray[Any, Any]:
    import polars as pl
    import pyarrow as pa

    arrays = [keys.column(field.name).cast(field.type) for field in schema]
    frame = cast(pl.DataFrame, pl.from_arrow(pa.table(arrays, schema=schema)))
    return frame.hash_rows(seed=0).to_numpy()


def _repeat_name(name: str, count: int) -> pa.DictionaryArray:
    import numpy as np
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([name], pa.string()))

"""The key index names the data files that can hold a key: never too few, whatever was added, merged or lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellspring.lake import key_index
from wellspring.lake.key_index import STATE_FILE, KeyIndex
from wellspring.lake.port import Snapshot

SCHEMA = pa.schema([("id", pa.string()), ("line", pa.int64())])


class GrowingTable:
    """A table in memory: each snapshot adds files of keys. read: the files that were read."""

    name = "orders"

    def __init__(self) -> None:
        self.files: dict[int, dict[str, pa.Table]] = {}
        self.read: list[str] = []

    def add(self, *files: list[tuple[str | None, int]]) -> int:
        number = len(self.files) + 1
        self.files[number] = {
            f"/file-{number}-{place}": pa.table(
                [pa.array([key for key, _ in keys], pa.string()), pa.array([line for _, line in keys], pa.int32())],
                names=["id", "line"],
            )
            for place, keys in enumerate(files)
        }
        return number

    def iter_ancestry(self, snapshot_id: int) -> Iterator[Snapshot]:
        for number in sorted((number for number in self.files if number <= snapshot_id), reverse=True):
            yield Snapshot(number, {}, 0)

    def files_added_by(self, snapshot_id: int) -> tuple[str, ...]:
        return tuple(self.files[snapshot_id])

    def read_file_columns(self, file: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        self.read.append(file)
        rows = next(files[file] for files in self.files.values() if file in files)
        yield from rows.select(schema.names).cast(schema).to_batches(max_chunksize=3)


def keys_of(*keys: tuple[str, int]) -> pa.Table:
    return pa.table([pa.array([key for key, _ in keys]), pa.array([line for _, line in keys])], schema=SCHEMA)


@pytest.fixture
def table() -> Any:
    return GrowingTable()


def test_a_key_leads_to_each_file_that_has_it(table: Any, tmp_path: Path):
    newest = table.add([("a", 1), ("b", 1)], [("a", 1), ("a", 2)])
    index = KeyIndex(tmp_path / "index", SCHEMA)
    index.refresh(table, newest)
    assert index.find_files(keys_of(("a", 1))) == {"/file-1-0", "/file-1-1"}
    assert index.find_files(keys_of(("a", 2), ("b", 1))) == {"/file-1-0", "/file-1-1"}
    assert index.find_files(keys_of(("b", 1))) == {"/file-1-0"}
    assert index.find_files(keys_of(("b", 2), ("c", 1))) == set()
    assert index.find_files(keys_of()) == set()


def test_only_files_of_new_snapshots_are_read(table: Any, tmp_path: Path):
    for number in range(6):
        newest = table.add([(f"k{number}", 1)])
        KeyIndex(tmp_path, SCHEMA).refresh(table, newest)
    assert table.read == [f"/file-{number}-0" for number in range(1, 7)]
    KeyIndex(tmp_path, SCHEMA).refresh(table, newest)
    assert len(table.read) == 6


def test_an_index_of_discarded_rows_is_made_anew(table: Any, tmp_path: Path):
    first = table.add([("a", 1)])
    index = KeyIndex(tmp_path, SCHEMA)
    index.refresh(table, table.add([("b", 1)]))
    index.refresh(table, first)
    assert index.find_files(keys_of(("a", 1), ("b", 1))) == {"/file-1-0"}


@pytest.mark.parametrize("damage", ["state", "run", "text", "basis"])
def test_an_index_that_is_incomplete_or_computed_in_another_way_is_made_anew(table: Any, tmp_path: Path, damage: str):
    newest = table.add([("a", 1)])
    KeyIndex(tmp_path, SCHEMA).refresh(table, newest)
    state = tmp_path / STATE_FILE
    if damage == "state":
        state.unlink()
    elif damage == "run":
        next(tmp_path.glob("*.arrow")).unlink()
    elif damage == "text":
        state.write_text("{")
    else:
        value = json.loads(state.read_bytes())
        value["basis"]["sample"][0] = "0"
        state.write_text(json.dumps(value))
    index = KeyIndex(tmp_path, SCHEMA)
    assert index.find_files(keys_of(("a", 1))) == set()
    index.refresh(table, newest)
    assert index.find_files(keys_of(("a", 1))) == {"/file-1-0"}
    assert len(list(tmp_path.glob("*.arrow"))) == 1, "what a crash left is removed"


def test_runs_are_merged_and_stay_few(table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(key_index, "_SMALL_ROWS", 4)
    index = KeyIndex(tmp_path, SCHEMA)
    for number in range(120):
        index.refresh(table, table.add([(f"k{number}", 1), (f"k{number}", 2)]))
    assert len(list(tmp_path.glob("*.arrow"))) <= 13
    for number in range(120):
        assert index.find_files(keys_of((f"k{number}", 2))) == {f"/file-{number + 1}-0"}


def test_a_run_is_not_merged_beyond_its_largest_size(table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(key_index, "_SMALL_ROWS", 1)
    monkeypatch.setattr(key_index, "_MAX_RUN_ROWS", 12)
    monkeypatch.setattr(key_index, "_BATCH_ROWS", 4)
    index = KeyIndex(tmp_path, SCHEMA)
    index.refresh(table, table.add([(f"k{number}", 1) for number in range(40)]))
    rows = [rows for _, rows in json.loads((tmp_path / STATE_FILE).read_bytes())["runs"]]
    assert sum(rows) == 40
    assert max(rows) <= 12
    assert index.find_files(keys_of(("k39", 1))) == {"/file-1-0"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 4)), max_size=6), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 5)), max_size=5),
)
def test_no_file_is_missed(tmp_path_factory: pytest.TempPathFactory, snapshots: Any, wanted_keys: Any):
    table: Any = GrowingTable()
    index = KeyIndex(tmp_path_factory.mktemp("index"), SCHEMA)
    for keys in snapshots:
        index.refresh(table, table.add(keys))
    expected = {f"/file-{number}-0" for number, keys in enumerate(snapshots, start=1) if set(keys) & set(wanted_keys)}
    assert index.find_files(keys_of(*wanted_keys)) == expected

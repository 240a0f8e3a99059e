"""Query the ledger through an SQLite index, which can be rebuilt from tiles, line packs and journals at any time."""

from __future__ import annotations

import heapq
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from wellspring.errors import CorruptedError, Unavailable
from wellspring.records.trust import EntryPhase, IndexedEntry
from wellspring.trust.ledger.index_rows import (
    LINES_COUNT,
    SCHEMA,
    SCHEMA_VERSION,
    SIZE_COUNT,
    IndexRow,
    create_tables,
    find_differing_tables,
    insert_contents,
    insert_rows,
    insert_subjects,
    parse_entry,
    read_count,
    service_count,
    write_count,
)
from wellspring.trust.ledger.leaf import HASHED_ACTIONS
from wellspring.trust.ledger.line_reader import LineReader, PackRange
from wellspring.trust.ledger.tree import TILE_WIDTH, MerkleTree

_REBUILT_BUNDLES = 64
"""Bundles that one transaction reads from the tiles; it bounds the memory of a rebuild."""


_COMPARISONS = 5


class LedgerIndex:
    """The entries of the tree by subject, action, phase and id. One writer (the sequencer), any number of readers.

    An entry of which the tree holds only the digest is found by its subject alone; its line is read from a line pack,
    or from the journals.
    """

    def __init__(self, path: Path, tree: MerkleTree, journals: Path) -> None:
        self.tree = tree
        self.lines = LineReader(tree, journals, self.find_pack)
        self._path = path
        self._journals = journals

    def refresh(self) -> None:
        """Add the entries that are only in the tree. Raises CorruptedError if an entry is in the tree twice."""
        self._run_update(self._insert_new_entries)

    def add_rows(self, first_index: int, rows: Sequence[IndexRow]) -> None:
        """Add the entries that have just come into the tree, from `first_index` on. Raises the errors of `refresh`."""
        self._run_update(partial(self._insert_rows, first_index, rows))

    def _run_update(self, update: Callable[[], None]) -> None:
        try:
            update()
        except sqlite3.IntegrityError:
            raise CorruptedError(
                "an entry is in the ledger twice", fix="run `wellspring ledger verify`; keep everything"
            ) from None
        except sqlite3.OperationalError as exc:
            raise Unavailable(f"the ledger's index cannot be written ({exc})", fix="free the disk") from None
        except sqlite3.DatabaseError:
            self.rebuild()

    def rebuild(self) -> None:
        """Delete the index, and build it again from the tiles, the line packs and the journals."""
        for path in (self._path, self._path.with_name(self._path.name + "-journal")):
            path.unlink(missing_ok=True)
        self._insert_new_entries()

    def list_entries(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        phase: EntryPhase | None = None,
        after: int = 0,
    ) -> list[IndexedEntry]:
        """List the entries that match all filters, in tree order. after: lowest index; what is older is not read."""
        return list(self.iter_entries(subject=subject, action=action, phase=phase, after=after))

    def iter_entries(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        phase: EntryPhase | None = None,
        after: int = 0,
    ) -> Iterator[IndexedEntry]:
        """Yield what `list_entries` returns; lines are read one after the other."""
        filters = {"subject": subject, "action": action, "phase": phase}
        params: dict[str, str | int] = {name: value for name, value in filters.items() if value is not None}
        condition = " and ".join(f"{name} = :{name}" for name in params) or "true"
        whole = self._query_entries(
            f"select tree_index, content from entries where {condition} and tree_index >= :after order by tree_index",  # noqa: S608 (fixed names)
            {**params, "after": after},
        )
        if action is not None and action not in HASHED_ACTIONS:
            yield from whole
            return
        lines = (
            IndexedEntry(index=tree_index, entry=parse_entry(content), is_hashed=True)
            for tree_index, content in self._iter_lines(subject, after)
        )
        matches = (
            indexed
            for indexed in lines
            if action in (None, indexed.entry.action) and phase in (None, indexed.entry.phase)
        )
        yield from heapq.merge(whole, matches, key=lambda indexed: indexed.index)

    def read_entries(self, tree_indexes: Iterable[int]) -> list[IndexedEntry]:
        """Return the entries with these indexes, in tree order, of those that are whole in the tree."""
        listed = json.dumps(list(tree_indexes))
        return self._query_entries(
            "select tree_index, content from entries where tree_index in (select value from json_each(:listed))"
            " order by tree_index",
            {"listed": listed},
        )

    def count_entries(self) -> int:
        """Return the number of entries in the index: each entry of the tree below it can be found."""
        with self._open_read_only() as file:
            return read_count(file, SIZE_COUNT)

    def list_open_intents(self) -> list[IndexedEntry]:
        """List the intents that no later entry settles: actions that a crash may have interrupted."""
        return self._query_entries(
            "select tree_index, content from entries as open where phase = 'intent'"
            " and not exists (select 1 from entries where intent = open.id and phase <> 'intent') order by tree_index",
            {},
        )

    def last_sequence(self, service: str) -> int:
        """Return the highest sequence of a service in the tree; -1 if it has no entry there."""
        with self._open_read_only() as file:
            return read_count(file, service_count(service)) - 1

    def list_subjects(self) -> list[str]:
        """List every subject, sorted, without those of answers."""
        with self._open_read_only() as file:
            return [str(row[0]) for row in file.execute("select distinct subject from entries order by subject")]

    def find_differing_tables(self, size: int) -> list[str]:
        """List the tables that differ from those of an index that is built anew, for the first `size` entries.

        Raises Unavailable if the index cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            anew = LedgerIndex(Path(folder) / "index.sqlite", self.tree, self._journals)
            differing: list[str] = []
            # Repeated, because the log does not wait for this comparison: a count may have grown meanwhile.
            for _ in range(_COMPARISONS):
                anew.refresh()
                with self._open_read_only() as file, anew._open_read_only() as expected:
                    differing = find_differing_tables(file, expected, size)
                if not differing:
                    break
            return differing

    def find_pack(self, tree_index: int) -> PackRange | None:
        """Return the first line pack whose last index is at least this one, or None."""
        with self._open_read_only() as file:
            row = file.execute(
                "select first_index, last_index, digest from packs where last_index >= ? order by last_index limit 1",
                (tree_index,),
            ).fetchone()
        return PackRange(*row) if row else None

    def list_packs(self) -> list[PackRange]:
        """List the line packs, in the order of the tree."""
        with self._open_read_only() as file:
            rows = file.execute("select first_index, last_index, digest from packs order by last_index").fetchall()
        return [PackRange(*row) for row in rows]

    def _iter_lines(self, subject: str | None, after: int) -> Iterator[tuple[int, bytes]]:
        if subject is None:
            yield from self.lines.iter_lines(after, self.count_entries())
            return
        with self._open_read_only() as file:
            matches = file.execute(
                "select tree_index from lines where subject = ? and tree_index >= ? order by tree_index",
                (subject, after),
            ).fetchall()
        yield from ((int(tree_index), self.lines.read_line(int(tree_index))) for (tree_index,) in matches)

    def _insert_new_entries(self) -> None:
        size = self.tree.size
        with self._open_writable() as file:
            indexed_count = read_count(file, SIZE_COUNT)
            if indexed_count > size:
                # The index follows the tree, also backwards: the witness, not the index, detects a rollback.
                create_tables(file)
                indexed_count = 0
            if indexed_count == size == read_count(file, LINES_COUNT):
                return
            for start in range(indexed_count // TILE_WIDTH, -(-size // TILE_WIDTH), _REBUILT_BUNDLES):
                with file:
                    for number in range(start, min(start + _REBUILT_BUNDLES, -(-size // TILE_WIDTH))):
                        contents = self.tree.read_bundle(number, size)
                        skipped = max(0, indexed_count - number * TILE_WIDTH)
                        insert_contents(file, number * TILE_WIDTH + skipped, contents[skipped:])
            self._insert_lines(file, size)

    def _insert_lines(self, file: sqlite3.Connection, size: int) -> None:
        """Add the subjects of lines, when their packs are in the index. Lines that are lost cannot be found."""
        lines = self.lines.iter_lines(read_count(file, LINES_COUNT), size, skip_damaged=True)
        for piece in iter(lambda: list(itertools.islice(lines, _REBUILT_BUNDLES * TILE_WIDTH)), []):
            with file:
                insert_subjects(file, [(tree_index, parse_entry(line).subject) for tree_index, line in piece])
                write_count(file, LINES_COUNT, piece[-1][0] + 1)
        with file:
            write_count(file, LINES_COUNT, size)

    def _insert_rows(self, first_index: int, rows: Sequence[IndexRow]) -> None:
        with self._open_writable() as file:
            if read_count(file, SIZE_COUNT) == first_index == read_count(file, LINES_COUNT):
                with file:
                    insert_rows(file, first_index, rows)
                return
        self._insert_new_entries()

    @contextmanager
    def _open_writable(self) -> Generator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=10)) as file:
            if file.execute("pragma user_version").fetchone()[0] != SCHEMA_VERSION:
                create_tables(file)
            yield file

    def _query_entries(self, sql: str, params: Mapping[str, str | int]) -> list[IndexedEntry]:
        with self._open_read_only() as file:
            return [
                IndexedEntry(index=int(tree_index), entry=parse_entry(content))
                for tree_index, content in file.execute(sql, params)
            ]

    @contextmanager
    def _open_read_only(self) -> Generator[sqlite3.Connection]:
        try:
            if not self._path.exists() and self.tree.size == 0:
                with closing(sqlite3.connect(":memory:")) as empty:
                    empty.executescript(SCHEMA)
                    yield empty
                return
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as file:
                yield file
        except sqlite3.DatabaseError as exc:
            raise Unavailable(
                f"the ledger's index cannot be read ({exc})", fix="run `wellspring up`: the sequencer rebuilds it"
            ) from None

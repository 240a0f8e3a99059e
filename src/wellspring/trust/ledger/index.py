"""Query the ledger through an SQLite index, which can be rebuilt from the tiles at any time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from wellspring.errors import CorruptedError, Unavailable
from wellspring.records.trust import Entry, EntryPhase, IndexedEntry
from wellspring.trust.ledger.tree import TILE_WIDTH, MerkleTree

_SCHEMA = """
create table if not exists entries (
  tree_index integer primary key, id text not null unique, service text not null, sequence integer not null,
  subject text not null, action text not null, phase text not null, intent text, content blob not null
);
create index if not exists by_subject on entries (subject);
create index if not exists by_action on entries (action, phase);
create index if not exists by_service on entries (service, sequence);
create index if not exists by_intent on entries (intent) where intent is not null;
"""
_REBUILT_BUNDLES = 64
"""Bundles that one transaction reads from the tiles; it bounds the memory of a rebuild."""


class IndexRow(NamedTuple):
    """An entry as the index stores it: what it is found by, and its bytes."""

    id: str
    service: str
    sequence: int
    subject: str
    action: str
    phase: str
    intent: str | None
    content: bytes


class LedgerIndex:
    """The entries of the tree by subject, action, phase and id. One writer (the sequencer), any number of readers."""

    def __init__(self, path: Path, tree: MerkleTree) -> None:
        self.tree = tree
        self._path = path

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
        """Delete the index, and build it again from the tiles."""
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
        filters = {"subject": subject, "action": action, "phase": phase}
        params: dict[str, str | int] = {name: value for name, value in filters.items() if value is not None}
        condition = " and ".join(f"{name} = :{name}" for name in params) or "true"
        return self._query_entries(
            f"select tree_index, content from entries where {condition} and tree_index >= :after order by tree_index",  # noqa: S608 (fixed names)
            {**params, "after": after},
        )

    def read_entries(self, tree_indexes: Iterable[int]) -> list[IndexedEntry]:
        """Return the entries with these indexes, in tree order."""
        listed = json.dumps(list(tree_indexes))
        return self._query_entries(
            "select tree_index, content from entries where tree_index in (select value from json_each(:listed))"
            " order by tree_index",
            {"listed": listed},
        )

    def count_entries(self) -> int:
        """Return the number of entries in the index: each entry of the tree below it can be found."""
        with self._open_read_only() as file:
            return _count_entries(file)

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
            row = file.execute("select max(sequence) from entries where service = ?", (service,)).fetchone()
        return -1 if row[0] is None else int(row[0])

    def list_subjects(self) -> list[str]:
        """List every subject, sorted."""
        with self._open_read_only() as file:
            return [str(row[0]) for row in file.execute("select distinct subject from entries order by subject")]

    def iter_entry_bytes(self) -> Iterator[tuple[int, bytes]]:
        """Yield (tree index, bytes) of each entry, to compare with the tree."""
        with self._open_read_only() as file:
            for tree_index, content in file.execute("select tree_index, content from entries order by tree_index"):
                yield int(tree_index), bytes(content)

    def _insert_new_entries(self) -> None:
        size = self.tree.size
        with self._open_writable() as file:
            with file:
                indexed_count = _count_entries(file)
                if indexed_count > size:
                    # The index follows the tree, also backwards: the witness, not the index, detects a rollback.
                    file.execute("delete from entries where tree_index >= ?", (size,))
            for start in range(indexed_count // TILE_WIDTH, -(-size // TILE_WIDTH), _REBUILT_BUNDLES):
                with file:
                    for number in range(start, min(start + _REBUILT_BUNDLES, -(-size // TILE_WIDTH))):
                        contents = self.tree.read_bundle(number, size)
                        skipped = max(0, indexed_count - number * TILE_WIDTH)
                        rows = (describe_entry(parse_entry(content), content) for content in contents[skipped:])
                        _insert(file, number * TILE_WIDTH + skipped, rows)

    def _insert_rows(self, first_index: int, rows: Sequence[IndexRow]) -> None:
        with self._open_writable() as file:
            if _count_entries(file) == first_index:
                with file:
                    _insert(file, first_index, rows)
                return
        self._insert_new_entries()

    @contextmanager
    def _open_writable(self) -> Generator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=10)) as file:
            file.executescript(_SCHEMA)
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
                    empty.executescript(_SCHEMA)
                    yield empty
                return
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as file:
                yield file
        except sqlite3.DatabaseError as exc:
            raise Unavailable(
                f"the ledger's index cannot be read ({exc})", fix="run `wellspring up`: the sequencer rebuilds it"
            ) from None


def parse_entry(content: bytes) -> Entry:
    """Parse the bytes of an entry. Raises CorruptedError."""
    try:
        return Entry.model_validate_json(content)
    except ValidationError:
        raise CorruptedError(
            "an entry of the ledger cannot be read", fix="run `wellspring ledger verify`; keep everything"
        ) from None


def describe_entry(entry: Entry, content: bytes) -> IndexRow:
    """Return the row of an entry. content: its bytes."""
    return IndexRow(
        entry.id,
        entry.service,
        entry.sequence,
        entry.subject,
        entry.action,
        entry.phase,
        entry.intent,
        content,
    )


def _count_entries(file: sqlite3.Connection) -> int:
    return int(file.execute("select coalesce(max(tree_index) + 1, 0) from entries").fetchone()[0])


def _insert(file: sqlite3.Connection, first_index: int, rows: Iterable[IndexRow]) -> None:
    file.executemany(
        "insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((tree_index, *row) for tree_index, row in enumerate(rows, start=first_index)),
    )

"""The tables of the ledger's index, and the rows that an entry has in them."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.trust.ledger.leaf import encode_leaf
from wellspring_verify.leaf import LineLeaf, parse_leaf

SCHEMA = """
create table if not exists entries (
  tree_index integer primary key, id text not null unique, subject text not null, action text not null,
  phase text not null, intent text, content blob not null
);
create index if not exists by_subject on entries (subject);
create index if not exists by_action on entries (action, phase);
create index if not exists by_intent on entries (intent) where intent is not null;
create table if not exists lines (
  subject text not null, tree_index integer not null, primary key (subject, tree_index)
) without rowid;
create table if not exists packs (last_index integer primary key, first_index integer not null, digest text not null);
create table if not exists counts (name text primary key, value integer not null) without rowid;
"""
SCHEMA_VERSION = 2
"""A file with another version is emptied, and filled again from the tree."""
SIZE_COUNT, LINES_COUNT = "size", "lines"
"""Counts of the tree's entries: those in the index, and those of which the subject of the line is there too."""
PACK_ACTION = "pack_lines"
"""Action of the entry about a line pack. Its output is the pack; `first` and `last` are tree indexes."""


class IndexRow(NamedTuple):
    """An entry: what it is found by, its line, and its leaf, which is the line or holds the digest of the line."""

    id: str
    service: str
    sequence: int
    subject: str
    action: str
    phase: str
    intent: str | None
    content: bytes
    leaf: bytes

    @property
    def is_hashed(self) -> bool:
        """Whether the tree holds only the digest of the line."""
        return self.leaf is not self.content and self.leaf != self.content


def parse_entry(content: bytes) -> Entry:
    """Parse the line of an entry. Raises CorruptedError."""
    try:
        return Entry.model_validate_json(content)
    except ValidationError:
        raise CorruptedError(
            "an entry of the ledger cannot be read", fix="run `wellspring ledger verify`; keep everything"
        ) from None


def describe_entry(entry: Entry, content: bytes) -> IndexRow:
    """Return the row of an entry. content: its line."""
    return _describe(entry, content, encode_leaf(entry, content))


def create_tables(file: sqlite3.Connection) -> None:
    """Create the tables; tables that exist are emptied."""
    for table in ("entries", "lines", "packs", "counts"):
        file.execute(f"drop table if exists {table}")
    file.executescript(f"{SCHEMA} pragma user_version = {SCHEMA_VERSION};")


def insert_rows(file: sqlite3.Connection, first_index: int, rows: Sequence[IndexRow]) -> None:
    """Add the entries that follow those in the index, with the subjects of their lines."""
    _insert_leaves(file, first_index, rows)
    hashed = [(tree_index, row.subject) for tree_index, row in enumerate(rows, start=first_index) if row.is_hashed]
    insert_subjects(file, hashed)
    write_count(file, LINES_COUNT, first_index + len(rows))


def insert_contents(file: sqlite3.Connection, first_index: int, contents: Sequence[bytes]) -> None:
    """Add the entries that follow those in the index, as the tree holds them: without the subjects of lines."""
    # An older log may hold the whole line of an entry that has only a digest today.
    _insert_leaves(
        file,
        first_index,
        [parse_leaf(content) or _describe(parse_entry(content), content, content) for content in contents],
    )


def insert_subjects(file: sqlite3.Connection, subjects: Iterable[tuple[int, str]]) -> None:
    """Add the subjects of lines, given with their tree indexes."""
    file.executemany("insert or ignore into lines (tree_index, subject) values (?, ?)", subjects)


def read_count(file: sqlite3.Connection, name: str) -> int:
    """Return a count; 0 if it is not there."""
    row = file.execute("select value from counts where name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def write_count(file: sqlite3.Connection, name: str, value: int) -> None:
    """Store a count."""
    file.execute("insert or replace into counts values (?, ?)", (name, value))


def service_count(service: str) -> str:
    """Name the count of the entries of a service."""
    return f"service:{service}"


def _describe(entry: Entry, content: bytes, leaf: bytes) -> IndexRow:
    return IndexRow(
        entry.id,
        entry.service,
        entry.sequence,
        entry.subject,
        entry.action,
        entry.phase,
        entry.intent,
        content,
        leaf,
    )


def _insert_leaves(file: sqlite3.Connection, first_index: int, rows: Sequence[IndexRow | LineLeaf]) -> None:
    """Add what the tree holds. Raises sqlite3.IntegrityError for an entry that the index has already."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.sequence < counts.get(row.service, -1):
            raise sqlite3.IntegrityError(row.id)
        if row.service not in counts and row.sequence < read_count(file, service_count(row.service)):
            raise sqlite3.IntegrityError(row.id)
        counts[row.service] = row.sequence + 1
    whole = [
        (tree_index, row)
        for tree_index, row in enumerate(rows, start=first_index)
        if isinstance(row, IndexRow) and not row.is_hashed
    ]
    file.executemany(
        "insert into entries values (?, ?, ?, ?, ?, ?, ?)",
        (
            (tree_index, row.id, row.subject, row.action, row.phase, row.intent, row.content)
            for tree_index, row in whole
        ),
    )
    for _, row in whole:
        if (row.action, row.phase) == (PACK_ACTION, "done"):
            _insert_pack(file, parse_entry(row.content))
    for service, count in counts.items():
        write_count(file, service_count(service), count)
    write_count(file, SIZE_COUNT, first_index + len(rows))


def _insert_pack(file: sqlite3.Connection, entry: Entry) -> None:
    digest = next((ref.digest for ref in entry.outputs), None)
    file.execute("insert into packs values (?, ?, ?)", (entry.count("last"), entry.count("first"), digest))


def find_differing_tables(file: sqlite3.Connection, expected: sqlite3.Connection, size: int) -> list[str]:
    """List the tables of which the rows about the first `size` entries of the tree differ."""
    queries = {
        "entries": "select * from entries where tree_index < ? order by tree_index",
        "lines": "select subject, tree_index from lines where tree_index < ? order by tree_index, subject",
        "packs": "select last_index, first_index, digest from packs where last_index < ? order by last_index",
    }
    differing = [
        table
        for table, query in queries.items()
        if any(
            row != expected_row
            for row, expected_row in itertools.zip_longest(
                file.execute(query, (size,)), expected.execute(query, (size,))
            )
        )
    ]
    counts, anew = (dict(connection.execute("select name, value from counts")) for connection in (file, expected))
    return [*differing, *(["counts"] if counts != anew else [])]

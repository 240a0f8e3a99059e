"""Index of the parts of all landed tables by drop: derived from catalog and editions, kept between runs in SQLite."""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.lake.editions import EditionStore
from wellspring.lake.port import MAIN_BRANCH, STAGING_BRANCH, Catalog, Snapshot, Table
from wellspring.lake.staging import StagedPart, staged_part_from_snapshot
from wellspring.records.lake import Edition
from wellspring.stores.derived_file import open_derived_file

_FORMAT = 2
_SCHEMA = f"""
create table if not exists tables (
  name text primary key, version text not null, head integer, edition_snapshot integer, published integer not null
) without rowid;
create table if not exists parts (
  name text not null, position integer not null, snapshot_id integer not null, drop_id text not null,
  replay_number integer not null, rows integer not null, rows_digest text not null, source text not null,
  contract text not null, contract_version text not null, files text not null, committed_ms integer not null,
  primary key (name, position)
) without rowid;
create index if not exists parts_by_drop on parts (drop_id, replay_number);
create index if not exists parts_by_snapshot on parts (snapshot_id);
create table if not exists latest_edition (id text primary key) without rowid;
create table if not exists edition_drops (drop_id text primary key) without rowid;
pragma user_version = {_FORMAT};
"""
_PART = (
    "select p.name, p.snapshot_id, p.drop_id, p.replay_number, p.rows, p.rows_digest, p.source, p.contract,"
    " p.contract_version, p.files, p.position <= t.published, p.committed_ms"
    " from parts p join tables t on t.name = p.name "
)


class DropRowCount(NamedTuple):
    """Number of published and of staged rows of one drop, over all its parts."""

    published: int
    waiting: int


class _TableState(NamedTuple):
    """A table as it was read. published: the position of the last part in the latest edition."""

    version: str
    head: int | None
    edition_snapshot: int | None
    published: int


class PartIndex:
    """The parts of all landed tables, as they were at the latest `refresh`.

    path: of the SQLite file, which is made anew when it cannot be read; None for an index in memory. A table that has
    not changed is not opened, and of one that has grown only the new snapshots are read.
    """

    def __init__(self, path: Path | None, catalog: Catalog, edition_store: EditionStore) -> None:
        self._path = path
        self._catalog = catalog
        self._edition_store = edition_store
        self._file: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # --- reading --------------------------------------------------------------------------------------------------

    def find_part(self, drop: str, replay_number: int) -> StagedPart | None:
        """Return a part of a drop, or None when it is not in the lake."""
        rows = self._select(_PART + "where p.drop_id = ? and p.replay_number = ?", drop, replay_number)
        return _decode_part(rows[0]) if rows else None

    def has_rows(self, table: str) -> bool:
        """Return whether a table has rows, staged or published."""
        return bool(self._select("select 1 from parts where name = ? and rows > 0 limit 1", table))

    def has_part(self, drop: str, replay_number: int) -> bool:
        """Return whether a part of a drop is in the lake, staged or published."""
        # Editions outlive the snapshots of a compacted table; they name whole drops.
        if replay_number == 0 and self._select("select 1 from edition_drops where drop_id = ?", drop):
            return True
        return self.find_part(drop, replay_number) is not None

    def count_drop_rows(self, drop: str) -> DropRowCount:
        """Count the rows of a drop over all its parts."""
        parts = [_decode_part(row) for row in self._select(_PART + "where p.drop_id = ?", drop)]
        published = sum(part.rows for part in parts if part.published)
        return DropRowCount(published=published, waiting=sum(part.rows for part in parts) - published)

    def count_published_rows(self) -> int:
        """Count the published rows of all tables."""
        sql = "select coalesce(sum(p.rows), 0) from parts p join tables t on t.name = p.name"
        return int(self._select(f"{sql} where p.position <= t.published")[0][0])

    def list_waiting(self, table: str | None = None) -> list[StagedPart]:
        """List the parts that are not published, of one table or of all, in the order in which they were staged."""
        rows = self._select(
            _PART + "where p.position > t.published and (?1 is null or p.name = ?1) order by p.name, p.position", table
        )
        by_table = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[0])]
        # A merge keeps the order of each table, also when the clock was set back.
        return [_decode_part(row) for row in heapq.merge(*by_table, key=lambda row: row[-1])]

    # --- writing --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what has changed in catalog and editions. Raises CorruptedError if a table lost the latest edition."""
        edition = self._edition_store.latest_edition()
        snapshot_ids = {snapshot.table: snapshot.snapshot_id for snapshot in edition.tables} if edition else {}
        versions = self._catalog.table_versions()
        states = {name: _TableState(*state) for name, *state in self._select("select * from tables")}
        for name in states.keys() - versions.keys():
            self._write_table(name, None, ())
        for name, version in versions.items():
            state, edition_snapshot = states.get(name), snapshot_ids.get(name)
            if state is None or (state.version, state.edition_snapshot) != (version, edition_snapshot):
                self._read_table(self._catalog.load_table(name), version, edition_snapshot, state)
        self._add_editions(edition)

    def _read_table(self, table: Table, version: str, edition_snapshot: int | None, state: _TableState | None) -> None:
        main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
        head = staging if table.descends_from(staging, main) else main
        fresh: list[Snapshot] = []
        continues = False
        for snapshot in table.iter_ancestry(head):
            continues = state is not None and snapshot.snapshot_id == state.head
            if continues:
                break
            fresh.append(snapshot)
        fresh.reverse()
        first = self._count_parts(table.name) if continues else 0
        published = self._find_published(table.name, edition_snapshot, fresh, first, continues=continues)
        if published is None and continues:
            self._read_table(table, version, edition_snapshot, None)
            return
        if published is None:
            edition = self._edition_store.latest_edition()
            raise CorruptedError(
                f"table {table.name} no longer contains the snapshot of edition {edition.id if edition else ''}",
                fix="stop; restore the lake from a copy",
            )
        self._write_table(
            table.name,
            _TableState(version, head, edition_snapshot, published),
            [snapshot for snapshot in fresh if snapshot.properties],
            first=first,
        )

    def _find_published(
        self, name: str, edition_snapshot: int | None, fresh: Sequence[Snapshot], first: int, *, continues: bool
    ) -> int | None:
        """Return the position of the last part in the latest edition; 0 without an edition, None if it is missing."""
        if edition_snapshot is None:
            return 0
        position = first
        for snapshot in fresh:
            position += bool(snapshot.properties)
            if snapshot.snapshot_id == edition_snapshot:
                return position
        select = "select position from parts where snapshot_id = ? and name = ?"
        rows = self._select(select, edition_snapshot, name) if continues else []
        return rows[0][0] if rows else None

    def _write_table(self, name: str, state: _TableState | None, added: Iterable[Snapshot], *, first: int = 0) -> None:
        """Store a table and its added parts, after the first ones; without a state, forget it."""
        with self._open() as file:
            file.execute("delete from parts where name = ? and position > ?", (name, first))
            file.execute("delete from tables where name = ?", (name,))
            if state is not None:
                file.execute("insert into tables values (?, ?, ?, ?, ?)", (name, *state))
                file.executemany(
                    "insert into parts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        _encode_part(name, position, snapshot)
                        for position, snapshot in enumerate(added, start=first + 1)
                    ),
                )

    def _count_parts(self, name: str) -> int:
        return int(self._select("select coalesce(max(position), 0) from parts where name = ?", name)[0][0])

    def _add_editions(self, latest: Edition | None) -> None:
        """Add the drops of the editions since the one that was added last; start anew if that is not an ancestor."""
        stored = next((row[0] for row in self._select("select id from latest_edition")), None)
        if latest is None or latest.id == stored:
            return
        added: list[Edition] = []
        continues = False
        for edition in self._edition_store.list_history():
            continues = edition.id == stored
            if continues:
                break
            added.append(edition)
        with self._open() as file:
            if not continues:
                file.execute("delete from edition_drops")
            drops = [(drop,) for edition in added for drop in edition.drops]
            file.executemany("insert or ignore into edition_drops values (?)", drops)
            file.execute("delete from latest_edition")
            file.execute("insert into latest_edition values (?)", (latest.id,))

    def _select(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._open().execute(sql, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._file is None:
            self._file = open_derived_file(self._path, _SCHEMA, format_version=_FORMAT)
        return self._file


def _encode_part(name: str, position: int, snapshot: Snapshot) -> tuple[Any, ...]:
    part = staged_part_from_snapshot(name, snapshot, published=False)
    return (
        name, position, part.snapshot_id, part.drop, part.replay_number, part.rows, part.rows_digest, part.source,
        part.contract, part.contract_version, part.files, snapshot.committed_ms,
    )  # fmt: skip


def _decode_part(row: tuple[Any, ...]) -> StagedPart:
    names = (
        "table", "snapshot_id", "drop", "replay_number", "rows", "rows_digest", "source", "contract",
        "contract_version", "files",
    )  # fmt: skip
    return StagedPart(**dict(zip(names, row, strict=False)), published=bool(row[len(names)]))

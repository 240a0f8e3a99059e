"""Recorded tables: they grow by rows that the platform itself recorded, in the order of the log.

Each append is one snapshot on top of the current one, with the log position up to which the table is complete. The
position decides what is appended next, so an append that a crash interrupted is neither lost nor repeated. Editions do
not contain these tables: no landed or built row depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.lake.port import AUDIT_BRANCH, MAIN_BRANCH, Catalog, Table
from wellspring.lake.table_hash import RowHasher
from wellspring.records.lake import TableSnapshot
from wellspring.records.record import Digest
from wellspring.stores.locks.port import WriteFence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from wellspring.records.tables import TableInput

_POSITION_PROPERTY = "log_position"
_FIRST_TAG = "first"


class RecordedState(NamedTuple):
    """How far a table is complete. position: the log index up to which it has every row; -1 before the first row."""

    position: int
    rows: int


class CompactedTable(NamedTuple):
    """Rows of a table that were written again. rows_digest: of all rows, in their order."""

    table: str
    snapshot_id: int
    rows: int
    rows_digest: Digest


class RecordedTables:
    """The recorded tables of a lake. One writer at a time, which holds the resource `recorded`."""

    def __init__(self, catalog: Catalog, fence: WriteFence) -> None:
        self._catalog = catalog
        self._fence = fence

    def close(self) -> None:
        """Close the catalog."""
        self._catalog.close()

    def read_state(self, name: str) -> RecordedState:
        """Return how far a table is complete. Raises CorruptedError for a snapshot that does not say so."""
        if name not in self._catalog.table_names():
            return RecordedState(-1, 0)
        return _read_state(self._catalog.load_table(name))

    def append_rows(self, name: str, rows: pa.RecordBatchReader, position: int) -> TableSnapshot:
        """Append rows, after which the table is complete up to a log position. Reads them once, batch by batch.

        Raises ValueError for a position before the table's own, Unavailable when another writer changed the table.
        """
        table = self._catalog.prepare_table(name, rows.schema)
        state = _read_state(table)
        if position < state.position:
            raise ValueError(f"{name} is complete up to {state.position}, which lies after {position}")
        parent_id = table.branch_head(MAIN_BRANCH)
        if parent_id is None:
            raise CorruptedError(f"table {name} has no first snapshot", fix="restore the lake from a copy")
        snapshot_id = table.append_rows(rows, parent_id, {_POSITION_PROPERTY: str(position)})
        with self._fence.fence_writes("recorded"):
            table.move_staging(snapshot_id)
            table.publish(snapshot_id, _FIRST_TAG)
        snapshot = next(table.iter_ancestry(snapshot_id))
        return TableSnapshot(table=name, snapshot_id=snapshot_id, rows=snapshot.rows)

    def list_names(self) -> tuple[str, ...]:
        """List the recorded tables."""
        return self._catalog.table_names()

    def count_files(self, name: str) -> int:
        """Count the data files of a table."""
        table, snapshot_id = self._open_current(name)
        return 0 if table is None else len(table.list_files(snapshot_id))

    def write_compacted(self, name: str) -> CompactedTable:
        """Write the rows of a table again as one append, which nobody reads yet.

        Raises CorruptedError when the rows that are read back differ; nothing has changed then.
        """
        table, snapshot_id = self._open_current(name)
        if table is None:
            raise NotFound(f"the table {name} has no rows", fix="see `wellspring outcome list`")
        properties = dict(next(table.iter_ancestry(snapshot_id)).properties)
        hasher = _HashedRows(_read_in_order(table, snapshot_id))
        written_id = table.append_rows(hasher.reader, table.root_snapshot_id(), properties)
        read_back = _HashedRows(table.rows_added_by(written_id))
        for _ in read_back.reader:
            pass
        if read_back.digest != hasher.digest:
            table.drop_branch(AUDIT_BRANCH)
            raise CorruptedError(f"the rows of {name} read back differently", fix="check the disk, then try again")
        rows = next(table.iter_ancestry(written_id)).rows
        return CompactedTable(name, written_id, rows, hasher.digest)

    def switch_to_compacted(self, compacted: CompactedTable) -> None:
        """Let readers use the compacted rows, and let the former snapshots expire."""
        table = self._catalog.load_table(compacted.table)
        with self._fence.fence_writes("recorded"):
            table.set_current(compacted.snapshot_id, f"compacted-{compacted.snapshot_id}")
            for tag in table.list_tags():
                if tag != f"compacted-{compacted.snapshot_id}":
                    table.remove_tag(tag)

    def remove_orphan_files(self, *, older_than: datetime) -> int:
        """Remove the files that no snapshot of a recorded table names, and return their number."""
        return sum(
            self._catalog.load_table(name).remove_orphan_files(older_than=older_than) for name in self.list_names()
        )

    def read_rows(self, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Read all rows; None before the first append. Raises NotFound with the nearest column."""
        table, snapshot_id = self._open_current(name)
        return None if table is None else table.read_snapshot(snapshot_id, None if columns is None else tuple(columns))

    def open_table(self, name: str) -> TableInput | None:
        """Return a table as input of a query engine; None before the first append."""
        table, snapshot_id = self._open_current(name)
        return None if table is None else table.open_snapshot(snapshot_id)

    def _open_current(self, name: str) -> tuple[Table | None, int]:
        if name not in self._catalog.table_names():
            return None, 0
        table = self._catalog.load_table(name)
        snapshot_id = table.branch_head(MAIN_BRANCH)
        return (None, 0) if snapshot_id in (None, table.root_snapshot_id()) else (table, snapshot_id or 0)


class _HashedRows:
    """Rows that are hashed while they are read. digest: after the last row."""

    def __init__(self, rows: pa.RecordBatchReader) -> None:
        import pyarrow as pa

        self._hasher = RowHasher(rows.schema)
        self.reader = pa.RecordBatchReader.from_batches(rows.schema, self._hash_batches(rows))

    @property
    def digest(self) -> Digest:
        return self._hasher.hexdigest()

    def _hash_batches(self, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            self._hasher.update(batch)
            yield batch


def _read_in_order(table: Table, snapshot_id: int) -> pa.RecordBatchReader:
    """Read the rows of a snapshot in the order in which they were appended, batch by batch."""
    import pyarrow as pa

    root = table.root_snapshot_id()
    appended = [item.snapshot_id for item in table.iter_ancestry(snapshot_id) if item.snapshot_id != root]
    schema = table.rows_added_by(appended[0]).schema

    def read_batches() -> Iterator[pa.RecordBatch]:
        for item in reversed(appended):
            for batch in table.rows_added_by(item):
                yield batch.select(schema.names).cast(schema)

    return pa.RecordBatchReader.from_batches(schema, read_batches())


def _read_state(table: Table) -> RecordedState:
    head = next(table.iter_ancestry(table.branch_head(MAIN_BRANCH)))
    if head.snapshot_id == table.root_snapshot_id():
        return RecordedState(-1, 0)
    position = head.properties.get(_POSITION_PROPERTY, "")
    if not position.removeprefix("-").isdigit():
        raise CorruptedError(
            f"the newest snapshot of {table.name} does not say how far it is complete",
            fix="stop; find the other writer of this lake",
        )
    return RecordedState(int(position), head.rows)

"""Recorded tables: they grow by rows that the platform itself recorded, in the order of the log.

Each append is one snapshot on top of the current one, with the log position up to which the table is complete. The
position decides what is appended next, so an append that a crash interrupted is neither lost nor repeated. Editions do
not contain these tables: no landed or built row depends on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.lake.port import MAIN_BRANCH, Catalog, Table
from wellspring.records.lake import TableSnapshot
from wellspring.stores.locks.port import WriteFence

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wellspring.records.tables import TableInput

_POSITION_PROPERTY = "log_position"
_FIRST_TAG = "first"


class RecordedState(NamedTuple):
    """How far a table is complete. position: the log index up to which it has every row; -1 before the first row."""

    position: int
    rows: int


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

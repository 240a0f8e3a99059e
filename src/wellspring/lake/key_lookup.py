"""Lookup of rows by key: spools the keys, and describes their values so that only files that can hold them are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wellspring.lake.port import MAIN_BRANCH, STAGING_BRANCH, ColumnValues, Table
from wellspring.lake.staging import SYSTEM_COLUMNS
from wellspring.records.tables import ParquetTable

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.tables import TableInput

MAX_LISTED_VALUES = 200
"""Distinct values of a key column up to which they are listed; beyond it their range is used. Iceberg's own limit."""
KEYS_FILE = "keys.parquet"


class RowMatcher(Protocol):
    """The operation of a query engine that a lookup needs (`query/port.py`)."""

    def matching_rows(
        self, table: TableInput, keys: TableInput, *, columns: tuple[str, ...], scratch: Path
    ) -> pa.RecordBatchReader: ...


def find_rows(
    table: Table | None, keys: pa.RecordBatchReader, engine: RowMatcher, scratch: Path
) -> pa.RecordBatchReader:
    """Find the rows of a table's newest state, published and staged, that have one of the keys.

    Without a table, a row or a key nothing is read.
    """
    import pyarrow as pa

    schema = pa.schema([*keys.schema, ("row_number", pa.int64()), ("drop_id", pa.string())])
    no_rows = pa.RecordBatchReader.from_batches(schema, iter(()))
    newest = None if table is None else _newest_snapshot(table)
    if table is None or newest is None or not next(table.iter_ancestry(newest)).rows:
        return no_rows
    spooled = spool_keys(keys, scratch)
    if not spooled.rows:
        return no_rows
    table_input = table.open_snapshot(newest, spooled.values)
    hidden = set(SYSTEM_COLUMNS) - {"drop_id"}
    columns = tuple(name for name in table_input.schema.names if name not in hidden)
    return engine.matching_rows(table_input, spooled.table, columns=columns, scratch=scratch)


def _newest_snapshot(table: Table) -> int | None:
    main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
    return staging if staging is not None and table.descends_from(staging, main) else main


class SpooledKeys:
    """The keys of a lookup in a Parquet file, with the values of each column."""

    def __init__(self, table: TableInput, rows: int, values: Mapping[str, ColumnValues]) -> None:
        self.table = table
        self.rows = rows
        self.values = values


def spool_keys(keys: pa.RecordBatchReader, scratch: Path) -> SpooledKeys:
    """Write keys to a file in `scratch`, batch by batch. A key with a null is left out: it matches no row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = keys.schema.names
    path = scratch / KEYS_FILE
    collectors = {name: _ValueCollector() for name in names}
    rows = 0
    # An engine reads Parquet in parts, while a table that is mapped from an Arrow file would count as memory.
    with pq.ParquetWriter(path, keys.schema, use_dictionary=False, compression="none") as writer:
        for batch in keys:
            complete = pa.Table.from_batches([batch]).drop_null()
            if complete.num_rows:
                writer.write_table(complete)
            rows += complete.num_rows
            for name in names:
                collectors[name].update(complete[name])
    values = {name: collector.result() for name, collector in collectors.items() if collector.minimum is not None}
    return SpooledKeys(ParquetTable("keys", (str(path),), keys.schema), rows, values)


class _ValueCollector:
    """Collects the range of a column's values, and the values themselves while they are few."""

    def __init__(self) -> None:
        self.minimum: object = None
        self._maximum: object = None
        self._values: set[object] | None = set()

    def update(self, column: pa.ChunkedArray) -> None:
        import pyarrow.compute as pc

        if not len(column):
            return
        bounds = pc.min_max(column).as_py()
        bounds_so_far = [
            bounds["min"],
            bounds["max"],
            *([self.minimum, self._maximum] if self.minimum is not None else []),
        ]
        self.minimum, self._maximum = min(bounds_so_far), max(bounds_so_far)
        if self._values is not None:
            distinct = pc.unique(column)
            self._values = None if len(distinct) > MAX_LISTED_VALUES else self._values | set(distinct.to_pylist())
            if self._values is not None and len(self._values) > MAX_LISTED_VALUES:
                self._values = None

    def result(self) -> ColumnValues:
        return ColumnValues(None if self._values is None else frozenset(self._values), self.minimum, self._maximum)

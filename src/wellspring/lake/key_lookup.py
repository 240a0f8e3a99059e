"""Lookup of rows by key: spools the keys, and reads only the data files that can hold one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wellspring.lake.key_index import KeyIndex
from wellspring.lake.port import MAIN_BRANCH, STAGING_BRANCH, Table
from wellspring.lake.staging import SYSTEM_COLUMNS
from wellspring.records.tables import ParquetTable

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.tables import TableInput

KEYS_FILE = "keys.parquet"


class RowMatcher(Protocol):
    """The operation of a query engine that a lookup needs (`query/port.py`)."""

    def matching_rows(
        self, table: TableInput, keys: TableInput, *, columns: tuple[str, ...], scratch: Path
    ) -> pa.RecordBatchReader: ...


def find_rows(
    table: Table | None,
    keys: pa.RecordBatchReader,
    engine: RowMatcher,
    scratch: Path,
    *,
    indexes: Path | None,
    check_files: Callable[[Table, Collection[str]], None],
) -> pa.RecordBatchReader:
    """Find the rows of a table's newest state, published and staged, that have one of the keys.

    indexes: the folder of the key indexes; without one, an index is made in `scratch`. check_files: called with the
    table and its files that can hold a key, before they are read. Without a table, a row or such a file nothing is
    read.
    """
    import pyarrow as pa

    schema = pa.schema([*keys.schema, ("row_number", pa.int64()), ("drop_id", pa.string())])
    no_rows = pa.RecordBatchReader.from_batches(schema, iter(()))
    newest = None if table is None else _newest_snapshot(table)
    if table is None or newest is None or not next(table.iter_ancestry(newest)).rows:
        return no_rows
    index = KeyIndex((indexes or scratch) / table.name / _name_key(keys.schema), keys.schema)
    index.refresh(table, newest)
    spooled = spool_keys(keys, scratch, index)
    if not spooled.files:
        return no_rows
    check_files(table, spooled.files)
    table_input = table.open_snapshot(newest, spooled.files)
    hidden = set(SYSTEM_COLUMNS) - {"drop_id"}
    columns = tuple(name for name in table_input.schema.names if name not in hidden)
    return engine.matching_rows(table_input, spooled.table, columns=columns, scratch=scratch)


def _newest_snapshot(table: Table) -> int | None:
    main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
    return staging if staging is not None and table.descends_from(staging, main) else main


def _name_key(schema: pa.Schema) -> str:
    """Name the index of a key by its columns and their types."""
    described = "\0".join(f"{field.name}\0{field.type}" for field in schema)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


class SpooledKeys(NamedTuple):
    """The keys of a lookup in a Parquet file, and the data files that can hold one of them."""

    table: TableInput
    files: frozenset[str]


def spool_keys(keys: pa.RecordBatchReader, scratch: Path, index: KeyIndex) -> SpooledKeys:
    """Write keys to a file in `scratch`, batch by batch. A key with a null is left out: it matches no row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = scratch / KEYS_FILE
    files: set[str] = set()
    # An engine reads Parquet in parts, while a table that is mapped from an Arrow file would count as memory.
    with pq.ParquetWriter(path, keys.schema, use_dictionary=False, compression="none") as writer:
        for batch in keys:
            complete = pa.Table.from_batches([batch]).drop_null()
            if complete.num_rows:
                writer.write_table(complete)
                files |= index.find_files(complete)
    return SpooledKeys(ParquetTable("keys", (str(path),), keys.schema), frozenset(files))

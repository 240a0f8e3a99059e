"""Stored tables: the columns of all files, whatever one of them lacks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellspring.records.tables import ParquetTable

SCHEMA = pa.schema([("key", pa.string()), ("amount", pa.int64()), ("note", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> ParquetTable:
    parts = [pa.table({"key": ["a", "b"]}), pa.table({"amount": pa.array([3], pa.int32()), "key": ["c"]})]
    for number, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{number}.parquet")
    return ParquetTable("orders", tuple(str(tmp_path / f"{number}.parquet") for number in range(2)), SCHEMA)


def test_rows_have_the_schema_of_the_table_and_null_where_a_file_lacks_a_column(table: ParquetTable):
    rows = table.read_rows()
    assert rows.schema == SCHEMA
    assert rows.to_pydict() == {"key": ["a", "b", "c"], "amount": [None, None, 3], "note": [None] * 3}


def test_some_columns_are_read_in_the_order_of_the_request(table: ParquetTable):
    assert table.read_rows(["amount", "key"]).to_pydict() == {"amount": [None, None, 3], "key": ["a", "b", "c"]}


def test_a_table_without_files_is_empty():
    assert ParquetTable("orders", (), SCHEMA).read_rows().schema == SCHEMA

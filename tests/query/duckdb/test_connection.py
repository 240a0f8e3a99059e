"""Connections of DuckDB: one SELECT over the tables of the query, no downloads, no state, no other files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellspring.errors import NotFound, Refused
from wellspring.query.duckdb.connection import run_select
from wellspring.records.tables import ParquetTable


@pytest.fixture
def files(tmp_path: Path) -> ParquetTable:
    parts = [pa.table({"k": ["a", "b"]}), pa.table({"k": ["a"], "paid": [3]})]
    for number, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{number}.parquet")
    paths = tuple(str(tmp_path / f"{number}.parquet") for number in range(2))
    return ParquetTable("orders", paths, parts[1].schema)


def test_no_extension_is_downloaded_or_loaded_automatically():
    disabled_settings = ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access")
    table = run_select(
        f"select name, value from duckdb_settings() where name in {disabled_settings} or name = 'threads'",
        {},
        threads=1,
    )
    settings = dict(zip(table["name"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert settings == {**dict.fromkeys(disabled_settings, "false"), "threads": "1"}


def test_queries_share_no_state():
    run_select("select * from a", {"a": pa.table({"x": [1]})})
    with pytest.raises(Refused):
        run_select("select * from a", {})


def test_one_select_reads_files_and_arrow_tables(files: ParquetTable):
    names = pa.table({"k": ["a", "b"], "label": ["one", "two"]})
    sql = "select label, count(*) n, sum(paid) paid from orders join names using (k) group by label order by label"
    assert run_select(sql, {"orders": files, "names": names}).to_pylist() == [
        {"label": "one", "n": 2, "paid": 3},
        {"label": "two", "n": 1, "paid": None},
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "create table x as select 1",
        "drop view orders",
        "select 1; select 2",
        "copy orders to 'out.csv'",
        "install httpfs",
        "attach 'x.db'",
        "set threads = 1",
        "",
    ],
)
def test_only_one_select_is_accepted(files: ParquetTable, sql: str):
    with pytest.raises(Refused):
        run_select(sql, {"orders": files})


@pytest.mark.parametrize(
    "sql",
    [
        "select * from 'outside.csv'",
        "select * from read_text('outside.csv')",
        "select * from read_parquet('s3://bucket/x.parquet')",
        "select * from read_csv('https://example.com/x.csv')",
        "select * from glob('*')",
        "select * from iceberg_scan('x')",
    ],
)
def test_a_query_reads_only_its_tables(files: ParquetTable, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "outside.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        run_select(sql, {"orders": files})


def test_a_python_variable_is_not_a_table():
    secret = pa.table({"x": [1]})
    assert secret.num_rows == 1
    with pytest.raises(Refused) as refused:
        run_select("select * from secret", {"orders": pa.table({"k": [1]})})
    assert "orders" in refused.value.fix


def test_an_error_never_quotes_a_value():
    data = pa.table({"name": ["Ann Example"]})
    with pytest.raises(Refused) as refused:
        run_select("select cast(name as integer) from people", {"people": data})
    assert "Ann" not in refused.value.what + refused.value.fix
    assert refused.value.__cause__ is None


def test_missing_files_and_tables_without_files_are_reported(files: ParquetTable):
    Path(files.files[1]).unlink()
    with pytest.raises(NotFound, match="orders"):
        run_select("select 1 from orders", {"orders": files})
    with pytest.raises(Refused, match="no files"):
        run_select("select 1 from orders", {"orders": ParquetTable("orders", (), files.schema)})

"""Behavior of every query engine: the suite of query/port.py."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellspring.errors import NotFound, Refused
from wellspring.query.duckdb import DuckDbEngine
from wellspring.query.port import QueryEngine


@pytest.fixture(params=[DuckDbEngine])
def tables(request: pytest.FixtureRequest) -> QueryEngine:
    return request.param()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    parts = [pa.table({"k": ["a", "b"]}), pa.table({"k": ["a"], "paid": [3]})]
    for number, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{number}.parquet")
    return [str(tmp_path / f"{number}.parquet") for number in range(2)]


def test_one_select_reads_files_and_arrow_tables(tables: QueryEngine, files: list[str]):
    names = pa.table({"k": ["a", "b"], "label": ["one", "two"]})
    sql = "select label, count(*) n, sum(paid) paid from claims join names using (k) group by label order by label"
    assert tables.run_query(sql, {"claims": files, "names": names}).to_pylist() == [
        {"label": "one", "n": 2, "paid": 3},
        {"label": "two", "n": 1, "paid": None},
    ]


def test_a_column_that_older_files_lack_reads_as_null(tables: QueryEngine, files: list[str]):
    assert tables.run_query("select paid from claims order by paid nulls last", {"claims": files})[
        "paid"
    ].to_pylist() == [
        3,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "create table x as select 1",
        "drop view claims",
        "select 1; select 2",
        "copy claims to 'out.csv'",
        "install httpfs",
        "attach 'x.db'",
        "set threads = 1",
        "",
    ],
)
def test_only_one_select_is_accepted(tables: QueryEngine, files: list[str], sql: str):
    with pytest.raises(Refused):
        tables.run_query(sql, {"claims": files})


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
def test_a_query_reads_only_its_tables(
    tables: QueryEngine, files: list[str], sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "outside.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        tables.run_query(sql, {"claims": files})


def test_a_python_variable_is_not_a_table(tables: QueryEngine):
    secret = pa.table({"x": [1]})
    assert secret.num_rows == 1
    with pytest.raises(Refused) as refused:
        tables.run_query("select * from secret", {"claims": pa.table({"k": [1]})})
    assert "claims" in refused.value.fix


def test_an_error_never_quotes_a_value(tables: QueryEngine):
    data = pa.table({"name": ["Ann Example"]})
    with pytest.raises(Refused) as refused:
        tables.run_query("select cast(name as integer) from people", {"people": data})
    assert "Ann" not in refused.value.what + refused.value.fix
    assert refused.value.__cause__ is None


def test_missing_files_and_tables_without_files_are_reported(tables: QueryEngine, files: list[str]):
    Path(files[1]).unlink()
    with pytest.raises(NotFound, match="claims"):
        tables.run_query("select 1 from claims", {"claims": files})
    with pytest.raises(Refused, match="no files"):
        tables.run_query("select 1 from claims", {"claims": []})

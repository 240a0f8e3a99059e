"""What dbt may read: the files of one edition, up to an instant, and nothing else."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.builders import dbt_projects as built
from wellspring.query.duckdb import dbt_plugin
from wellspring.records.record import format_instant


def opened_files(
    folder: Path, files: list[str], *, cut: str | None = None, types: dict[str, str] | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a database as dbt-duckdb would, with one source."""
    (folder / "out").mkdir(exist_ok=True)
    source = {"files": files, "types": types or {}, "known_since_columns": ["recorded_at"]}
    config = {
        "sources": {"visit": source},
        "audit_instant": cut,
        "folder": str(folder / "out"),
        "spill": str(folder / "spill"),
    }
    options: dict[str, Any] = {}
    loaded = dbt_plugin.Plugin("landed", config)
    loaded.update_connection_config(None, options)
    connection = duckdb.connect(":memory:", config=options)
    loaded.configure_connection(connection)
    loaded.configure_cursor(connection.cursor())
    return connection


def count(connection: duckdb.DuckDBPyConnection, of: str = "landed.visit") -> int:
    (matches,) = connection.execute(f"select count(*) from {of}").fetchall()
    return int(matches[0])


def test_a_column_that_no_file_has_yet_is_null(tmp_path: Path):
    files = [str(built.written(built.visits(10), tmp_path / "one.parquet"))]
    connection = opened_files(tmp_path, files, types={"place": "VARCHAR", "recorded_at": "TIMESTAMP WITH TIME ZONE"})
    assert connection.execute("select count(*), count(place) from landed.visit").fetchall() == [(10, 0)]


def test_a_source_is_the_files_that_were_handed_in(tmp_path: Path):
    item = built.written(built.visits(10), tmp_path / "it's one.parquet")
    two = built.written(built.visits(5).drop_columns(["amount"]), tmp_path / "two.parquet")
    with opened_files(tmp_path, [item, two]) as connection:
        assert count(connection) == 15
        assert count(connection, "landed.visit where amount is null") == 5


def test_no_other_file_can_be_read_whatever_the_sql_says(tmp_path: Path):
    own_copy, second = (built.written(built.visits(3), tmp_path / name) for name in ("mine.parquet", "other.parquet"))
    with opened_files(tmp_path, [own_copy]) as connection:
        for sql in (
            f"select * from '{second}'",
            f"attach '{tmp_path / 'x.duckdb'}'",
            "set enable_external_access = true",
            f"set allowed_paths = ['{second}']",
            f"copy landed.visit to '{tmp_path / 'x.csv'}'",
        ):
            with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException, duckdb.BinderException)):
                connection.execute(sql)
        connection.execute(f"copy landed.visit to '{tmp_path / 'out' / 'x.parquet'}'")


def test_a_file_of_the_edition_can_neither_be_overwritten_nor_read_past_the_cut(tmp_path: Path):
    rows = built.visits(10)
    file = built.written(rows, tmp_path / "landed" / "visit.parquet")
    before = Path(file).read_bytes()
    with opened_files(tmp_path, [file], cut=format_instant(rows["recorded_at"][6].as_py())) as connection:
        for sql in (
            f"copy (select 'forged' as person) to '{file}' (format parquet, use_tmp_file false)",
            f"select * from read_parquet('{file}')",
            f"select * from '{file}'",
        ):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(sql)
        result = connection.execute(
            "select sql from duckdb_tables() union all select sql from duckdb_views()"
        ).fetchall()
        assert file not in str(result)
        assert count(connection) == 7
    assert Path(file).read_bytes() == before


def test_rows_recorded_after_the_cut_are_not_there(tmp_path: Path):
    rows = built.visits(10)
    file = built.written(rows, tmp_path / "x.parquet")
    with opened_files(tmp_path, [file], cut=format_instant(rows["recorded_at"][6].as_py())) as connection:
        assert count(connection) == 7


def test_where_the_supplier_says_nothing_a_row_is_known_since_it_landed(tmp_path: Path):
    rows = built.visits(6)
    landed = rows.rename_columns({"recorded_at": "known_since"})
    file = built.written(landed.append_column("recorded_at", pa.nulls(6, pa.timestamp("us", "UTC"))), tmp_path / "x.pq")
    config = {
        "sources": {"visit": {"files": [file], "known_since_columns": ["recorded_at", "known_since"]}},
        "spill": "",
    }
    cut = format_instant(rows["recorded_at"][2].as_py())
    with duckdb.connect() as connection:
        dbt_plugin.Plugin("landed", {**config, "audit_instant": cut, "folder": str(tmp_path)}).configure_connection(
            connection
        )
        assert count(connection) == 3


def test_it_speaks_the_protocol_of_dbt_duckdb_without_importing_it():
    from dbt.adapters.duckdb.plugins import BasePlugin

    requests = {name for name in vars(BasePlugin) if not name.startswith("_")} - {"create", "initialize"}
    assert requests <= set(vars(dbt_plugin.Plugin))
    made_by_dbt = BasePlugin.create(dbt_plugin.PLUGIN_MODULE, config={"audit_instant": None}, alias="landed")
    assert (type(made_by_dbt).__name__, made_by_dbt.name) == ("Plugin", "landed")
    with pytest.raises(NotImplementedError):
        made_by_dbt.store(None)  # pyright: ignore[reportArgumentType]

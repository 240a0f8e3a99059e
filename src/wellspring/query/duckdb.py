"""Run queries on DuckDB: in memory, one connection per query, restricted to the files of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.errors import NotFound, Refused

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class DuckDbEngine:
    """Run SQL over Parquet files and Arrow tables. threads: limit for one query (None: all cores)."""

    def __init__(self, *, threads: int | None = None) -> None:
        self.threads = threads

    def run_query(self, sql: str, tables: Mapping[str, pa.Table | Sequence[str]]) -> pa.Table:
        import duckdb

        for name, content in tables.items():
            _require_files(name, content)
        try:
            with duckdb.connect(":memory:", config=self._build_config()) as connection:
                statements = connection.extract_statements(sql)
                if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                    raise Refused("a query must be exactly one SELECT statement", fix="run one SELECT at a time")
                _lock_connection(connection, tables)
                for name, content in tables.items():
                    _register_table(connection, name, content)
                result = connection.sql(statements[0])
                return result.to_arrow_table()
        except duckdb.Error as exc:
            # Only the error class: DuckDB's message may quote a value of the data.
            raise Refused(f"the query failed ({type(exc).__name__})", fix=_suggest_fix(exc, tables)) from None

    def _build_config(self) -> dict[str, str | bool | int | float | list[str]]:
        config: dict[str, str | bool | int | float | list[str]] = {
            # Otherwise DuckDB starts a download when SQL mentions s3:// or an unknown function.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # SQL must not read Python variables of this process as tables.
            "python_enable_replacements": False,
        }
        return config if self.threads is None else {**config, "threads": self.threads}


def _lock_connection(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table | Sequence[str]]) -> None:
    """Deny the connection all files and addresses except the files of its tables, and lock this configuration."""
    files = [file for content in tables.values() if isinstance(content, Sequence) for file in content]
    connection.execute("set allowed_paths = $files", {"files": files})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _register_table(connection: duckdb.DuckDBPyConnection, name: str, content: pa.Table | Sequence[str]) -> None:
    if isinstance(content, Sequence):
        connection.read_parquet(list(content), union_by_name=True, hive_partitioning=False).create_view(name)
    else:
        connection.register(name, content)


def _require_files(name: str, content: pa.Table | Sequence[str]) -> None:
    if not isinstance(content, Sequence):
        return
    if not content:
        raise Refused(f"table {name} has no files, so its columns are unknown", fix="pass an Arrow table instead")
    for file in content:
        if not Path(file).is_file():
            raise NotFound(f"a file of table {name} does not exist: {file}", fix="list the files of the edition again")


def _suggest_fix(exc: Exception, tables: Mapping[str, object]) -> str:
    import duckdb

    if isinstance(exc, duckdb.CatalogException | duckdb.BinderException):
        return f"use only these tables and their columns: {', '.join(sorted(tables)) or 'none'}"
    if isinstance(exc, duckdb.PermissionException):
        return "read only the tables of the query; other files and addresses are not accessible"
    return "check the SQL"

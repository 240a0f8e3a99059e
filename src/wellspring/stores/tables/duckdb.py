"""Tables on DuckDB: in memory, one connection a query, locked shut but for the files that were handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.errors import NotFound, Refused

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class DuckTables:
    """SQL over Parquet files and Arrow tables. threads: how many a query may use (None: all cores)."""

    def __init__(self, *, threads: int | None = None) -> None:
        self.threads = threads

    def query(self, sql: str, tables: Mapping[str, pa.Table | Sequence[str]]) -> pa.Table:
        import duckdb

        for name, given in tables.items():
            _files_are_there(name, given)
        try:
            with duckdb.connect(":memory:", config=self._config()) as connection:
                asked = connection.extract_statements(sql)
                if len(asked) != 1 or asked[0].type != duckdb.StatementType.SELECT:
                    raise Refused("only one SELECT may be asked of a snapshot", fix="ask one SELECT at a time")
                _shut(connection, tables)
                for name, given in tables.items():
                    _name(connection, name, given)
                answer = connection.sql(asked[0])
                return answer.to_arrow_table()
        except duckdb.Error as wrong:
            # Its kind only: DuckDB's own words may quote a value of the data.
            raise Refused(f"the query was not understood ({type(wrong).__name__})", fix=_mend(wrong, tables)) from None

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        config: dict[str, str | bool | int | float | list[str]] = {
            # Without these DuckDB tries a download as soon as SQL mentions s3:// or an unknown function.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # A Python variable of ours whose name the SQL happens to use is not a table.
            "python_enable_replacements": False,
        }
        return config if self.threads is None else {**config, "threads": self.threads}


def _shut(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table | Sequence[str]]) -> None:
    """Close files and addresses to this connection, all but those handed in, and lock it so."""
    files = [file for given in tables.values() if isinstance(given, Sequence) for file in given]
    connection.execute("set allowed_paths = $files", {"files": files})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _name(connection: duckdb.DuckDBPyConnection, name: str, given: pa.Table | Sequence[str]) -> None:
    if isinstance(given, Sequence):
        connection.read_parquet(list(given), union_by_name=True, hive_partitioning=False).create_view(name)
    else:
        connection.register(name, given)


def _files_are_there(name: str, given: pa.Table | Sequence[str]) -> None:
    if not isinstance(given, Sequence):
        return
    if not given:
        raise Refused(f"table {name} has no files, so its columns are unknown", fix="hand in an Arrow table instead")
    for file in given:
        if not Path(file).is_file():
            raise NotFound(f"a file of table {name} is gone: {file}", fix="ask the edition for its files again")


def _mend(wrong: Exception, tables: Mapping[str, object]) -> str:
    import duckdb

    if isinstance(wrong, duckdb.CatalogException | duckdb.BinderException):
        return f"name only these tables and their columns: {', '.join(sorted(tables)) or 'none'}"
    if isinstance(wrong, duckdb.PermissionException):
        return "read only the tables that are handed in; files and addresses outside them are closed"
    return "check the SQL"

"""Connections of DuckDB: in memory, one per query, restricted to the files of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.errors import NotFound, Refused
from wellspring.records.tables import ParquetTable

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from wellspring.records.tables import TableInput


MEMORY_LIMIT = "400MB"
"""Memory of one streaming query; beyond it the database writes to its folder."""
STREAM_BATCH_ROWS = 65_536


def run_select(sql: str, tables: Mapping[str, TableInput], *, threads: int | None = None) -> pa.Table:
    """Run one SELECT in a new database. tables: by name in the SQL; threads: limit (None: all cores).

    Raises Refused for SQL that is not one SELECT or that reads anything else, NotFound for a missing file.
    """
    import duckdb

    for content in tables.values():
        _require_files(content)
    try:
        with duckdb.connect(":memory:", config=_build_config(threads)) as connection:
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


def stream_select(
    sql: str, tables: Mapping[str, TableInput], *, scratch: Path, threads: int | None = None
) -> pa.RecordBatchReader:
    """Run one SELECT of this package in a new database, and return its rows batch by batch.

    The database uses at most MEMORY_LIMIT and writes what exceeds it to `scratch`. Raises as `run_select`; an error
    while rows are read has no value of the data either.
    """
    import duckdb
    import pyarrow as pa

    for content in tables.values():
        _require_files(content)
    spill_config = {"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch), "preserve_insertion_order": False}
    connection = duckdb.connect(":memory:", config={**_build_config(threads), **spill_config})
    try:
        _lock_connection(connection, tables)
        for name, content in tables.items():
            _register_table(connection, name, content)
        result = connection.sql(sql).to_arrow_reader(STREAM_BATCH_ROWS)
    except duckdb.Error as exc:
        connection.close()
        raise Refused(f"the query failed ({type(exc).__name__})", fix=_suggest_fix(exc, tables)) from None

    def read_batches() -> Iterator[pa.RecordBatch]:
        with connection:
            try:
                yield from result
            except (duckdb.Error, pa.ArrowException, OSError) as exc:
                raise Refused(f"the query failed ({type(exc).__name__})", fix=_suggest_fix(exc, tables)) from None

    return pa.RecordBatchReader.from_batches(result.schema, read_batches())


def _build_config(threads: int | None) -> dict[str, str | bool | int | float | list[str]]:
    config: dict[str, str | bool | int | float | list[str]] = {
        # Otherwise DuckDB starts a download when SQL mentions s3:// or an unknown function.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # SQL must not read Python variables of this process as tables.
        "python_enable_replacements": False,
    }
    return config if threads is None else {**config, "threads": threads}


def _lock_connection(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, TableInput]) -> None:
    """Deny the connection all files and addresses except the files of its tables, and lock this configuration."""
    files = [file for content in tables.values() if isinstance(content, ParquetTable) for file in content.files]
    connection.execute("set allowed_paths = $files", {"files": files})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _register_table(connection: duckdb.DuckDBPyConnection, name: str, content: TableInput) -> None:
    import pyarrow as pa

    if isinstance(content, ParquetTable):
        rows = connection.read_parquet(list(content.files), union_by_name=True, hive_partitioning=False)
        if missing := [field for field in content.schema if field.name not in rows.columns]:
            # All these files are older than the columns.
            types = name_types(pa.schema(missing))
            nulls = ", ".join(f"cast(null as {sql_type}) as {_quote(column)}" for column, sql_type in types.items())
            rows = rows.project(f"*, {nulls}")
        rows.create_view(name)
    elif isinstance(content, pa.Table):
        connection.register(name, content)
    else:
        connection.register(name, content.read_rows())


def name_types(schema: pa.Schema) -> dict[str, str]:
    """Return the SQL type of each column of a schema."""
    import duckdb

    with duckdb.connect() as connection:
        relation = connection.from_arrow(schema.empty_table())
        return {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _require_files(content: TableInput) -> None:
    if not isinstance(content, ParquetTable):
        return
    if not content.files:
        raise Refused(
            f"table {content.name} has no files, so its columns are unknown", fix="pass an Arrow table instead"
        )
    for file in content.files:
        if not Path(file).is_file():
            raise NotFound(
                f"a file of table {content.name} does not exist: {file}", fix="list the files of the edition again"
            )


def _suggest_fix(exc: Exception, tables: Mapping[str, object]) -> str:
    import duckdb

    if isinstance(exc, duckdb.CatalogException | duckdb.BinderException):
        return f"use only these tables and their columns: {', '.join(sorted(tables)) or 'none'}"
    if isinstance(exc, duckdb.PermissionException):
        return "read only the tables of the query; other files and addresses are not accessible"
    return "check the SQL"

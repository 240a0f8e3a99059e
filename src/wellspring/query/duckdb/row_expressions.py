"""SQL expressions over the columns of one row, evaluated in an isolated DuckDB: the engine of a contract's row rules.

The caller has checked each expression word by word (`data/quality/row_rules.py`). The evaluation stays in the process,
whatever query engine a project uses: the rows still hold the values of persons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wellspring.errors import ProjectError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SETTINGS: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "2",
}
"""No access to files or extensions."""
_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN", "date32[day]": "DATE"}


def check_expressions(expressions: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    """Compile expressions over columns (name -> Arrow type). Returns the errors: key -> message.

    An expression must be boolean. A message can quote only the expression: the table is empty.
    """
    messages: dict[str, str] = {}
    with _open_database() as database:
        column_definitions = ", ".join(f'"{name}" {_column_type(kind)}' for name, kind in columns.items())
        database.execute(f"CREATE TABLE rows ({column_definitions})")
        for key, expression in expressions.items():
            if (message := _compile_error(database, expression)) is not None:
                messages[key] = message
    return messages


def find_false_rows(table: pa.Table, expressions: Mapping[str, str]) -> dict[str, list[int]]:
    """Find the rows for which each expression is false: key -> row indexes, from 0. Null is not false.

    An expression that fails on a row, for example because a product is too large, is false for it. Raises ProjectError,
    with the key of the expression that cannot be evaluated at all and without a value.
    """
    import duckdb
    import pyarrow as pa

    index_column = _unused_name(table.column_names)
    indexes_by_key: dict[str, list[int]] = {}
    with _open_database() as database:
        database.register("rows", table.append_column(index_column, pa.array(range(table.num_rows), pa.int64())))
        for key, expression in expressions.items():
            try:
                indexes_by_key[key] = _select_false(database, index_column, f"({expression})")
            except duckdb.Error:
                # TRY is null for a failure, so that null as a result becomes true before it.
                guarded = f"coalesce(TRY(coalesce(({expression}), true)), false)"
                try:
                    indexes_by_key[key] = _select_false(database, index_column, guarded)
                except duckdb.Error as error:
                    message = f"the rule {key!r} cannot be run on this drop ({type(error).__name__})"
                    raise ProjectError(message, fix="correct the rule in its contract") from None
    return indexes_by_key


def _select_false(database: duckdb.DuckDBPyConnection, index_column: str, condition: str) -> list[int]:
    result = database.execute(f'SELECT "{index_column}" FROM rows WHERE NOT {condition} ORDER BY 1')  # noqa: S608
    return [index for (index,) in result.fetchall()]


def _open_database() -> duckdb.DuckDBPyConnection:
    import duckdb

    database = duckdb.connect(":memory:", config=SETTINGS)
    database.execute("SET lock_configuration = true")
    return database


def _compile_error(database: duckdb.DuckDBPyConnection, expression: str) -> str | None:
    import duckdb

    try:
        description = database.execute(f"DESCRIBE SELECT ({expression}) FROM rows").fetchall()  # noqa: S608
    except duckdb.Error as exc:
        return str(exc).splitlines()[0]
    return None if description[0][1] == "BOOLEAN" else f"the result is {description[0][1]}, not BOOLEAN"


def _column_type(arrow_name: str) -> str:
    if arrow_name.startswith("decimal128"):
        return arrow_name.replace("decimal128", "DECIMAL")
    return _TYPES.get(arrow_name, "TIMESTAMPTZ")


def _unused_name(taken: list[str]) -> str:
    name = "place"
    while name in {column_name.casefold() for column_name in taken}:
        name += "_"
    return name

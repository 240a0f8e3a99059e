"""Rules over several columns of one row: a restricted SQL expression, run in an isolated DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wellspring.errors import ProjectError
from wellspring.records.contracts import ContractColumn, RowRule

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<mark><=|>=|<>|!=|\|\||[-+*/%=<>(),])"""
)
_WORDS = {
    "and", "or", "not", "is", "null", "in", "between", "like", "case", "when", "then", "else", "end", "true", "false",
    "distinct", "from", "date", "timestamp", "interval", "day", "days", "month", "months", "year", "years",
}  # fmt: skip
# Rejected even if a column has the name.
_STATEMENTS = {
    "attach", "call", "copy", "describe", "pivot", "select", "show", "summarize", "table", "unpivot", "values", "with",
}  # fmt: skip
_FUNCTIONS = {
    "abs", "coalesce", "date_diff", "date_part", "day", "floor", "ceil", "greatest", "least", "left", "length", "lower",
    "month", "nullif", "regexp_matches", "right", "round", "starts_with", "substr", "trim", "upper", "year",
}  # fmt: skip


def check_rules(rules: Iterable[RowRule], columns: Iterable[ContractColumn]) -> list[str | None]:
    """Return the error of each rule, or None. A rule must be one boolean expression over declared columns.

    Only the words, functions and operators listed above are allowed, which excludes statements, subqueries and files.
    """
    listed, declared = list(rules), list(columns)
    messages = [_syntax_error(rule, declared) for rule in listed]
    if all(messages):
        return messages
    with _open_engine() as engine:
        column_definitions = ", ".join(f'"{column.name}" {_engine_type(column.type)}' for column in declared)
        engine.execute(f"CREATE TABLE rows ({column_definitions})")
        return [message or _compile_error(engine, rule) for message, rule in zip(messages, listed, strict=True)]


def _syntax_error(rule: RowRule, columns: list[ContractColumn]) -> str | None:
    """Check a rule token by token. Returns the first error, or None."""
    declared = {column.name.casefold() for column in columns}
    position = depth = 0
    previous, last = "", ""
    while position < len(rule.sql):
        match = _TOKEN.match(rule.sql, position)
        if match is None:
            return f"{rule.sql[position]!r} is not allowed in a rule"
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return "a closing bracket has no opening bracket"
        if (previous, match[0]) in {("-", "-"), ("/", "*")}:
            return "a comment is not allowed in a rule"
        if match.lastgroup == "word":
            name, calls = match[0].casefold(), rule.sql[match.end() :].lstrip().startswith("(")
            if name in _STATEMENTS:
                return f"{match[0]!r} is not allowed in a rule"
            if name == "from" and last != "distinct":
                return "FROM is not allowed in a rule; a rule reads one row"
            if calls and name not in _FUNCTIONS | _WORDS:
                return f"the function {match[0]!r} is not allowed in a rule"
            if not calls and name not in _WORDS | declared:
                return f"{match[0]!r} is not a declared column"
            last = name
        previous, position = match[0], match.end()
    return "an opening bracket has no closing bracket" if depth else None


def find_violations(
    table: pa.Table, rules: Iterable[RowRule], columns: Iterable[ContractColumn]
) -> dict[str, list[int]]:
    """Find the rows that violate each rule: rule name -> row indexes, from 0. A null result is not a violation.

    Raises ProjectError for a rule that cannot be run, without the message of the engine, which may quote a value.
    """
    import duckdb
    import pyarrow as pa

    listed, declared = list(rules), list(columns)
    violations: dict[str, list[int]] = {}
    if not listed:
        return violations
    index_column = _unused_name(table.column_names)
    with _open_engine() as engine:
        engine.register("rows", table.append_column(index_column, pa.array(range(table.num_rows), pa.int64())))
        for rule in listed:
            if (error := _syntax_error(rule, declared)) is not None:
                raise ProjectError(f"the rule {rule.name!r}: {error}", fix="correct the rule in its contract")
            try:
                result = engine.execute(f'SELECT "{index_column}" FROM rows WHERE NOT ({rule.sql}) ORDER BY 1')  # noqa: S608
                violations[rule.name] = [index for (index,) in result.fetchall()]
            except duckdb.Error as error:
                message = f"the rule {rule.name!r} cannot be run on this drop ({type(error).__name__})"
                raise ProjectError(message, fix="correct the rule in its contract") from None
    return violations


def _unused_name(taken: list[str]) -> str:
    name = "place"
    while name in {column_name.casefold() for column_name in taken}:
        name += "_"
    return name


def _open_engine() -> duckdb.DuckDBPyConnection:
    """Open an in-memory engine without access to files, extensions or changes of settings."""
    import duckdb

    settings: dict[str, Any] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "threads": "2",
    }
    engine = duckdb.connect(":memory:", config=settings)
    engine.execute("SET lock_configuration = true")
    return engine


def _compile_error(engine: duckdb.DuckDBPyConnection, rule: RowRule) -> str | None:
    import duckdb

    try:
        description = engine.execute(f"DESCRIBE SELECT ({rule.sql}) FROM rows").fetchall()  # noqa: S608
    except duckdb.Error as exc:
        # The message can quote only the contract, because the table is empty.
        return str(exc).splitlines()[0]
    return None if description[0][1] == "BOOLEAN" else f"the result is {description[0][1]}, not BOOLEAN"


def _engine_type(arrow_name: str) -> str:
    """Return the engine type of an Arrow type name."""
    engine_types = {
        "string": "VARCHAR",
        "int64": "BIGINT",
        "float64": "DOUBLE",
        "bool": "BOOLEAN",
        "date32[day]": "DATE",
    }
    if arrow_name.startswith("decimal128"):
        return arrow_name.replace("decimal128", "DECIMAL")
    return engine_types.get(arrow_name, "TIMESTAMPTZ")

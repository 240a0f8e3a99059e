"""Cross-column rules: one SQL expression of one row, read with suspicion and run in a DuckDB that reaches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wellspring.errors import ProjectError
from wellspring.records.data import ContractColumn, RowRule

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
# Refused even where a column has the name.
_STATEMENTS = {
    "attach", "call", "copy", "describe", "pivot", "select", "show", "summarize", "table", "unpivot", "values", "with",
}  # fmt: skip
_FUNCTIONS = {
    "abs", "coalesce", "date_diff", "date_part", "day", "floor", "ceil", "greatest", "least", "left", "length", "lower",
    "month", "nullif", "regexp_matches", "right", "round", "starts_with", "substr", "trim", "upper", "year",
}  # fmt: skip


def check_rules(rules: Iterable[RowRule], columns: Iterable[ContractColumn]) -> list[str | None]:
    """Say for each rule what is wrong with it, or None: it must be one boolean expression over declared columns.

    Only the words, functions and marks listed above may stand in it, so it can hold no statement, subquery or file.
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
    """Read a rule word by word."""
    declared = {column.name.casefold() for column in columns}
    position = depth = 0
    previous, last = "", ""
    while position < len(rule.sql):
        match = _TOKEN.match(rule.sql, position)
        if match is None:
            return f"{rule.sql[position]!r} may not stand in a rule"
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return "a bracket is closed that was not opened"
        if (previous, match[0]) in {("-", "-"), ("/", "*")}:
            return "a comment may not stand in a rule"
        if match.lastgroup == "word":
            name, calls = match[0].casefold(), rule.sql[match.end() :].lstrip().startswith("(")
            if name in _STATEMENTS:
                return f"{match[0]!r} may not stand in a rule"
            if name == "from" and last != "distinct":
                return "a rule may not read FROM anything; it sees one row"
            if calls and name not in _FUNCTIONS | _WORDS:
                return f"the function {match[0]!r} may not stand in a rule"
            if not calls and name not in _WORDS | declared:
                return f"{match[0]!r} is no declared column"
            last = name
        previous, position = match[0], match.end()
    return "a bracket is opened that is not closed" if depth else None


def find_violations(
    table: pa.Table, rules: Iterable[RowRule], columns: Iterable[ContractColumn]
) -> dict[str, list[int]]:
    """Find the rows that break each rule: name of the rule -> places in the table, from 0. Null is no breach.

    Raises ProjectError for a rule that cannot be run, without the engine's message, which may quote a value.
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
                raise ProjectError(f"the rule {rule.name!r}: {error}", fix="mend the rule in its contract")
            try:
                result = engine.execute(f'SELECT "{index_column}" FROM rows WHERE NOT ({rule.sql}) ORDER BY 1')  # noqa: S608
                violations[rule.name] = [index for (index,) in result.fetchall()]
            except duckdb.Error as error:
                message = f"the rule {rule.name!r} cannot be run on this drop ({type(error).__name__})"
                raise ProjectError(message, fix="mend the rule in its contract") from None
    return violations


def _unused_name(taken: list[str]) -> str:
    name = "place"
    while name in {column_name.casefold() for column_name in taken}:
        name += "_"
    return name


def _open_engine() -> duckdb.DuckDBPyConnection:
    """Open an engine of its own, in memory, that can open no file, load no extension and change no setting."""
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
        # The contract's own text may be quoted: there is no row yet.
        return str(exc).splitlines()[0]
    return None if description[0][1] == "BOOLEAN" else f"it is {description[0][1]}, not true or false"


def _engine_type(arrow_name: str) -> str:
    """Translate Arrow's name of a type into the engine's."""
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

"""Cross-column rules: one SQL expression of one row, read with suspicion and run in a DuckDB that reaches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wellspring.errors import ProjectError
from wellspring.records.data import Column, Rule

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


def problems(rules: Iterable[Rule], columns: Iterable[Column]) -> list[str | None]:
    """Say for each rule what is wrong with it, or None: it must be one boolean expression over declared columns.

    Only the words, functions and marks listed above may stand in it, so it can hold no statement, subquery or file.
    """
    listed, declared = list(rules), list(columns)
    told = [_written(rule, declared) for rule in listed]
    if all(told):
        return told
    with _engine() as engine:
        shape = ", ".join(f'"{each.name}" {_kind(each.type)}' for each in declared)
        engine.execute(f"CREATE TABLE rows ({shape})")
        return [wrong or _compiled(engine, rule) for wrong, rule in zip(told, listed, strict=True)]


def _written(rule: Rule, columns: list[Column]) -> str | None:
    """Read a rule word by word."""
    declared = {column.name.casefold() for column in columns}
    place = depth = 0
    before, last = "", ""
    while place < len(rule.sql):
        match = _TOKEN.match(rule.sql, place)
        if match is None:
            return f"{rule.sql[place]!r} may not stand in a rule"
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth < 0:
            return "a bracket is closed that was not opened"
        if (before, match[0]) in {("-", "-"), ("/", "*")}:
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
        before, place = match[0], match.end()
    return "a bracket is opened that is not closed" if depth else None


def broken(table: pa.Table, rules: Iterable[Rule], columns: Iterable[Column]) -> dict[str, list[int]]:
    """Find the rows that break each rule: name of the rule -> places in the table, from 0. Null is no breach.

    Raises ProjectError for a rule that cannot be run, without the engine's message, which may quote a value.
    """
    import duckdb
    import pyarrow as pa

    listed, declared = list(rules), list(columns)
    found: dict[str, list[int]] = {}
    if not listed:
        return found
    place = _free_name(table.column_names)
    with _engine() as engine:
        engine.register("rows", table.append_column(place, pa.array(range(table.num_rows), pa.int64())))
        for rule in listed:
            if (wrong := _written(rule, declared)) is not None:
                raise ProjectError(f"the rule {rule.name!r}: {wrong}", fix="mend the rule in its contract")
            try:
                told = engine.execute(f'SELECT "{place}" FROM rows WHERE NOT ({rule.sql}) ORDER BY 1')  # noqa: S608
                found[rule.name] = [number for (number,) in told.fetchall()]
            except duckdb.Error as wrong:
                what = f"the rule {rule.name!r} cannot be run on this drop ({type(wrong).__name__})"
                raise ProjectError(what, fix="mend the rule in its contract") from None
    return found


def _free_name(taken: list[str]) -> str:
    name = "place"
    while name in {each.casefold() for each in taken}:
        name += "_"
    return name


def _engine() -> duckdb.DuckDBPyConnection:
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


def _compiled(engine: duckdb.DuckDBPyConnection, rule: Rule) -> str | None:
    import duckdb

    try:
        told = engine.execute(f"DESCRIBE SELECT ({rule.sql}) FROM rows").fetchall()  # noqa: S608
    except duckdb.Error as wrong:
        # The contract's own text may be quoted: there is no row yet.
        return str(wrong).splitlines()[0]
    return None if told[0][1] == "BOOLEAN" else f"it is {told[0][1]}, not true or false"


def _kind(arrow: str) -> str:
    """Translate Arrow's name of a type into the engine's."""
    named = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN", "date32[day]": "DATE"}
    if arrow.startswith("decimal128"):
        return arrow.replace("decimal128", "DECIMAL")
    return named.get(arrow, "TIMESTAMPTZ")

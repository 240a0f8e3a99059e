"""Rules over several columns of one row: a restricted SQL expression, checked word by word before it is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from wellspring.errors import ProjectError
from wellspring.query.duckdb.row_expressions import check_expressions, find_false_rows
from wellspring.records.contracts import ContractColumn, RowRule

if TYPE_CHECKING:
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
    valid = {str(number): rule.sql for number, rule in enumerate(listed) if messages[number] is None}
    errors = check_expressions(valid, {column.name: column.type for column in declared}) if valid else {}
    return [message or errors.get(str(number)) for number, message in enumerate(messages)]


def split_rule(sql: str) -> Iterator[tuple[str, str]]:
    """Split a rule that `check_rules` accepts: each word, text, number or mark with its kind, without the blanks."""
    for match in _TOKEN.finditer(sql):
        if match.lastgroup is not None and match.lastgroup != "space":
            yield match.lastgroup, match[0]


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

    A row on which a rule cannot be calculated violates it. Raises ProjectError for a rule that cannot be run, without
    the message of the engine, which may quote a value.
    """
    listed, declared = list(rules), list(columns)
    for rule in listed:
        if (error := _syntax_error(rule, declared)) is not None:
            raise ProjectError(f"the rule {rule.name!r}: {error}", fix="correct the rule in its contract")
    return find_false_rows(table, {rule.name: rule.sql for rule in listed}) if listed else {}

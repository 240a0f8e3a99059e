"""Decide whether a row rule can spell the values of columns that do not leave the enclave.

The rows that violate a rule are listed for everybody. A rule that compares a protected column with a text, or takes a
part of it, answers a question about each row; so only these shapes may read one: `a IS NULL`, `a IS NOT NULL`,
`length(a) <= 9`, and `a = b` or `a <> b` with another column, in which dates and numbers may also be ordered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from wellspring.data.quality.row_rules import split_rule
from wellspring.records.contracts import ContractColumn

_BEFORE = {"", "(", ",", "and", "or", "not", "when", "then", "else"}
_AFTER = {"", ")", ",", "and", "or", "when", "then", "else", "end"}
"""What may stand beside a shape: no operator that binds as closely as its own."""
_EQUALITIES = {"=", "<>", "!="}
_ORDERS = {"<", "<=", ">", ">="}


def explain_revealing_rule(sql: str, columns: Iterable[ContractColumn]) -> str:
    """Return why a rule says more about a protected column than a shape, or ''. sql: a rule that `check_rules` accepts.

    A column is protected if its egress is not `plain`.
    """
    by_name = {column.name.casefold(): column for column in columns}
    protected = {name for name, column in by_name.items() if column.egress != "plain"}
    words = [word.casefold() if kind == "word" else word for kind, word in split_rule(sql)]
    orderable = {name for name, column in by_name.items() if column.type != "string"}
    position = 0
    while position < len(words):
        name = _find_protected(words, position, protected)
        if not name:
            position += 1
            continue
        if "between" in words:
            return f"reads {name} beside a BETWEEN; write two comparisons"
        start, end = _measure_shape(words, position, by_name.keys(), orderable)
        before = words[start - 1] if start else ""
        after = words[end] if end < len(words) else ""
        if end == start or before not in _BEFORE or after not in _AFTER:
            return f"reads {name} otherwise than in {name} IS NULL, length({name}) <= 9, or {name} = another column"
        position = end
    return ""


def _find_protected(words: Sequence[str], position: int, protected: Collection[str]) -> str:
    """Return the protected column that a word names, or that it is compared with, as in `kind = last_name`; or ''."""
    word, comparison, compared = ([*words[position : position + 3], "", ""])[:3]
    if word in protected and comparison != "(":
        return word
    return compared if comparison in _EQUALITIES | _ORDERS and compared in protected else ""


def _measure_shape(
    words: Sequence[str], position: int, columns: Collection[str], orderable: Collection[str]
) -> tuple[int, int]:
    """Return where the shape begins that reads the column at a position, and where it ends; equal without one."""
    following = words[position + 1 : position + 6]
    if following[:2] == ["is", "null"]:
        return position, position + 3
    if following[:3] == ["is", "not", "null"]:
        return position, position + 4
    if words[max(position - 2, 0) : position] == ["length", "("] and len(following) > 2 and following[0] == ")":
        is_number = following[2][:1].isdigit() and following[1] in _EQUALITIES | _ORDERS
        return position - 2, position + 4 if is_number else position - 2
    if len(following) > 1 and words[position] in columns and following[1] in columns:
        is_ordered = following[0] in _ORDERS and {words[position], following[1]} <= set(orderable)
        is_called = following[2:3] == ["("]
        if (following[0] in _EQUALITIES or is_ordered) and not is_called:
            return position, position + 3
    return position, position

"""Find checks that say what a protected column holds: row rules, patterns, lists of valid values, and limits.

A row that fails a check waits in quarantine, with the name of the check. A check over a column that does not leave as
it is therefore answers a question about each row, and a new version of the contract asks the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from wellspring.data.contracts.pattern_shapes import explain_revealing_pattern
from wellspring.data.quality.revealing_rules import explain_revealing_rule
from wellspring.records.contracts import ContractColumn, DataContract


class RevealingCheck(NamedTuple):
    """A check that says what a protected column holds. name: its column, or its rule. reason: what it says."""

    name: str
    reason: str


def find_revealing_checks(contract: DataContract) -> Iterator[RevealingCheck]:
    """List the checks of a contract that can spell a value which does not leave as plain text."""
    for column in contract.columns:
        if column.egress == "plain":
            continue
        if column.enum:
            yield RevealingCheck(column.name, "has a list of valid values")
        if column.pattern is not None and (reason := explain_revealing_pattern(column.pattern)):
            yield RevealingCheck(column.name, f"has a pattern that {reason}")
        yield from _find_exact_limits(column)
    for rule in contract.rules:
        if reason := explain_revealing_rule(rule.sql, contract.columns):
            yield RevealingCheck(f"the rule {rule.name}", reason)


def _find_exact_limits(column: ContractColumn) -> Iterator[RevealingCheck]:
    for limit, is_minimum in ((column.minimum, True), (column.maximum, False)):
        if limit is None:
            continue
        word = "minimum" if is_minimum else "maximum"
        if isinstance(limit, str):
            is_instant = column.type.startswith("timestamp")
            if not _is_end_of_year(datetime.fromisoformat(limit), is_minimum=is_minimum, is_instant=is_instant):
                day = "first day of a year, 00:00:00" if is_minimum else "last day of a year, 23:59:59"
                yield RevealingCheck(column.name, f"has a {word} that is not the {day}")
        elif not _is_round(limit):
            yield RevealingCheck(column.name, f"has a {word} that is not one digit before zeros or nines")


def _is_end_of_year(limit: datetime, *, is_minimum: bool, is_instant: bool) -> bool:
    if (limit.month, limit.day) != ((1, 1) if is_minimum else (12, 31)):
        return False
    clock = (limit.hour, limit.minute, limit.second)
    return not is_instant or clock == ((0, 0, 0) if is_minimum else (23, 59, 59))


def _is_round(limit: float) -> bool:
    """Return whether a number has one digit, followed by zeros or nines only: 0, 20, 0.5, 999, 1999."""
    digits = Decimal(str(limit)).as_tuple().digits
    return set(digits[1:]) in (set(), {0}, {9}) or set(digits) == {0}

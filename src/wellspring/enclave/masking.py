"""What a person outside may see of a row that waits: which columns, which listed words; never a person's value."""

from __future__ import annotations

import re

from wellspring.data.formats.parsed import undeclared_name
from wellspring.records.data import Column, Contract

HIDDEN = "***"
EMPTY = "(empty)"
_PLAIN = {"public", "operational", "internal", "financial"}
_SHORT_NUMBER_OR_DATE = re.compile(r"[-+]?[0-9]{1,8}(\.[0-9]{1,4})?|[0-9]{4}-[0-9]{2}-[0-9]{2}|true|false")


def masked(values: dict[str, str | None], contract: Contract) -> dict[str, str]:
    """Mask one row. Shown is only a word that the contract itself lists, and a short number, date or yes/no of a
    column that leaves as it is and is about no person; the rest is hidden whole, its length and last digits too."""
    declared = {column.name: column for column in contract.columns}
    shown: dict[str, str] = {}
    for name, value in values.items():
        column = declared.get(name)
        # The name of an undeclared column comes from the file: it may hold a value itself.
        shown[name if column else undeclared_name(name)] = _masked(value, column)
    return shown


def _masked(value: str | None, column: Column | None) -> str:
    if value is None or value == "":
        return EMPTY
    if column is None or column.leaves != "as_is":
        return HIDDEN
    if value in column.enum:
        return value
    # A column of text may hold anything in a row that is wrong: another column's name, an SSN.
    plain = column.classification in _PLAIN and column.type != "string"
    return value if plain and _SHORT_NUMBER_OR_DATE.fullmatch(value) else HIDDEN

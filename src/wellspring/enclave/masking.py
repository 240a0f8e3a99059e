"""What a person outside may see of a row that waits: which columns, which listed words; never a person's value."""

from __future__ import annotations

import re

from wellspring.data.formats.parsed import safe_column_name
from wellspring.records.data import ContractColumn, DataContract

HIDDEN_VALUE = "***"
EMPTY_VALUE = "(empty)"
_PLAIN_CLASSIFICATIONS = {"public", "operational", "internal", "financial"}
_SHORT_NUMBER_OR_DATE = re.compile(r"[-+]?[0-9]{1,8}(\.[0-9]{1,4})?|[0-9]{4}-[0-9]{2}-[0-9]{2}|true|false")


def mask_row(values: dict[str, str | None], contract: DataContract) -> dict[str, str]:
    """Mask one row. Shown is only a word that the contract itself lists, and a short number, date or yes/no of a
    column that leaves as it is and is about no person; the rest is hidden whole, its length and last digits too."""
    declared = {column.name: column for column in contract.columns}
    masked_values: dict[str, str] = {}
    for name, value in values.items():
        column = declared.get(name)
        # The name of an undeclared column comes from the file: it may hold a value itself.
        masked_values[name if column else safe_column_name(name)] = _mask_value(value, column)
    return masked_values


def _mask_value(value: str | None, column: ContractColumn | None) -> str:
    if value is None or value == "":
        return EMPTY_VALUE
    if column is None or column.egress != "plain":
        return HIDDEN_VALUE
    if value in column.enum:
        return value
    # A column of text may hold anything in a row that is wrong: another column's name, an SSN.
    plain = column.classification in _PLAIN_CLASSIFICATIONS and column.type != "string"
    return value if plain and _SHORT_NUMBER_OR_DATE.fullmatch(value) else HIDDEN_VALUE

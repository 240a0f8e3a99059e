"""Mask quarantined rows for display outside the enclave."""

from __future__ import annotations

import re

from wellspring.records.contracts import ContractColumn, DataContract

HIDDEN_VALUE = "***"
EMPTY_VALUE = "(empty)"
UNDECLARED = "(undeclared)"
"""Stands for all undeclared values of a row; no contract can declare this name."""
_PLAIN_CLASSIFICATIONS = {"public", "operational", "internal", "financial"}
_SHORT_NUMBER_OR_DATE = re.compile(r"[-+]?[0-9]{1,8}(\.[0-9]{1,4})?|[0-9]{4}-[0-9]{2}-[0-9]{2}|true|false")


def mask_row(values: dict[str, str | None], contract: DataContract) -> dict[str, str]:
    """Mask one row. Unmasked are only valid values listed in the contract, and short numbers, dates and booleans of a
    plain column with a non-personal classification. Any other value is replaced whole, including its length. Of the
    undeclared columns only the number of this row's values is shown, under `(undeclared)`."""
    declared = {column.name: column for column in contract.columns}
    masked_values = {name: _mask_value(value, declared[name]) for name, value in values.items() if name in declared}
    # The name of an undeclared column comes from the file and may itself be a value.
    if undeclared := sum(value is not None for name, value in values.items() if name not in declared):
        masked_values[UNDECLARED] = str(undeclared)
    return masked_values


def _mask_value(value: str | None, column: ContractColumn) -> str:
    if value is None or value == "":
        return EMPTY_VALUE
    if column.egress != "plain":
        return HIDDEN_VALUE
    if value in column.enum:
        return value
    # In an invalid row, a text column may hold a value of another column, for example an SSN.
    plain = column.classification in _PLAIN_CLASSIFICATIONS and column.type != "string"
    return value if plain and _SHORT_NUMBER_OR_DATE.fullmatch(value) else HIDDEN_VALUE

"""Mask quarantined rows for display outside the enclave."""

from __future__ import annotations

from wellspring.records.contracts import ContractColumn, DataContract

HIDDEN_VALUE = "***"
EMPTY_VALUE = "(empty)"
UNDECLARED = "(undeclared)"
"""Stands for all undeclared values of a row; no contract can declare this name."""


def mask_row(values: dict[str, str | None], contract: DataContract) -> dict[str, str]:
    """Mask one row. Unmasked are only values of a plain column that the contract itself lists as valid.

    Any other value is replaced whole, including its length: in an invalid row a column of numbers or dates may hold a
    member number or a birth date. Of the undeclared columns only the number of this row's values is shown, under
    `(undeclared)`.
    """
    declared = {column.name: column for column in contract.columns}
    masked_values = {name: _mask_value(value, declared[name]) for name, value in values.items() if name in declared}
    # The name of an undeclared column comes from the file and may itself be a value.
    if undeclared := sum(value is not None for name, value in values.items() if name not in declared):
        masked_values[UNDECLARED] = str(undeclared)
    return masked_values


def _mask_value(value: str | None, column: ContractColumn) -> str:
    if value is None or value == "":
        return EMPTY_VALUE
    return value if column.egress == "plain" and value in column.enum else HIDDEN_VALUE

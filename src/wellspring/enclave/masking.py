"""Mask quarantined rows for display outside the enclave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wellspring.records.contracts import ContractColumn, DataContract

if TYPE_CHECKING:
    import pyarrow as pa

HIDDEN_VALUE = "***"
EMPTY_VALUE = "(empty)"
UNDECLARED = "(undeclared)"
"""Stands for all undeclared values of a row; no contract can declare this name."""


def list_masked_inputs(rows: pa.Table) -> Iterator[dict[str, str | None]]:
    """Yield the rows as `mask_row` takes them.

    Of a date, a time or a nested value only whether there is one: Python cannot hold every date of a file.
    """
    import pyarrow as pa

    columns: list[list[str | None]] = []
    for column in rows.columns:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
            columns.append([HIDDEN_VALUE if is_valid else None for is_valid in column.is_valid().to_pylist()])
        else:
            columns.append([None if value is None else str(value) for value in column.to_pylist()])
    for values in zip(*columns, strict=True):
        yield dict(zip(rows.column_names, values, strict=True))


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

"""Schemas as the lake stores them: text as string, all columns nullable, no metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with string for large_string, all columns nullable and no metadata."""
    import pyarrow as pa

    def plain_type(kind: Any) -> Any:
        return pa.string() if pa.types.is_large_string(kind) else kind

    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def is_widening(old: pa.DataType, new: pa.DataType) -> bool:
    """Return whether a column of a type can take values of another without a change of the stored ones."""
    import pyarrow as pa

    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return old.scale == new.scale and new.precision > old.precision
    return (old, new) in {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}

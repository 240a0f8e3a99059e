"""Digest of rows: equal for equal values, regardless of batches, chunking, slicing, encoding and padding."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from wellspring.records.record import Digest

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION_TAG = b"wellspring rows v2\n"


class RowHasher:
    """Hash rows batch by batch. The digest does not depend on how the rows are divided into batches.

    Each column has three running SHA-256 digests: of validity (a byte per row: 1, or 0 for a null), of lengths (8 bytes
    per row; text only) and of values. The digest of the rows is SHA-256 over the version tag, the number of rows and,
    by column name, (name, type, the three digests). The order of rows matters, the order of columns does not. Numbers
    are little-endian; a null is hashed as zero or as empty text; a bool is one byte. Accepts string, integer, float,
    bool, date32, timestamp and decimal128 columns; raises TypeError for any other type and ValueError for duplicate
    column names.
    """

    def __init__(self, schema: pa.Schema) -> None:
        if len(set(schema.names)) < len(schema.names):
            raise ValueError("two columns have the same name")
        self._rows = 0
        self._columns = {field.name: _ColumnHasher(field.type) for field in schema}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch, which has the columns of the schema in any order."""
        self._rows += batch.num_rows
        for name, column in self._columns.items():
            column.update(batch.column(name))

    def hexdigest(self) -> Digest:
        """Return the digest of all rows so far."""
        digest = hashlib.sha256(_VERSION_TAG + _encode_length(self._rows))
        for name in sorted(self._columns):
            column = self._columns[name]
            for part in (name.encode(), column.type_name.encode()):
                digest.update(_encode_length(len(part)) + part)
            for column_digest in (column.validity, column.lengths, column.values):
                digest.update(column_digest.digest())
        return digest.hexdigest()


def hash_rows(table: pa.Table) -> Digest:
    """Hash the rows of a table; see `RowHasher`."""
    hasher = RowHasher(table.schema)
    for batch in table.to_batches():
        hasher.update(batch)
    return hasher.hexdigest()


class _ColumnHasher:
    def __init__(self, column_type: pa.DataType) -> None:
        self._type = _plain_type(column_type)
        self.type_name = "string" if _is_text(self._type) else str(self._type)
        self.validity, self.lengths, self.values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not len(array):
            return
        if array.type != self._type:
            array = array.cast(self._type)
        if array.null_count:
            self.validity.update(_value_bytes(pc.cast(pc.is_valid(array), pa.uint8())))
            array = _fill_nulls(array)
        else:
            self.validity.update(b"\x01" * len(array))
        if _is_text(array.type):
            self.lengths.update(_value_bytes(pc.binary_length(array)))
            self.values.update(_text_bytes(array))
        else:
            self.values.update(_value_bytes(array.cast(pa.uint8()) if pa.types.is_boolean(array.type) else array))


def _plain_type(column_type: pa.DataType) -> pa.DataType:
    """Return the type that is hashed: no dictionary, no string view, 64-bit text offsets, UTC."""
    import pyarrow as pa
    import pyarrow.types as kind

    inner = column_type.value_type if kind.is_dictionary(column_type) else column_type
    if kind.is_string(inner) or kind.is_large_string(inner) or kind.is_string_view(inner):
        return pa.large_string()
    if kind.is_timestamp(inner):
        # The time zone affects only how an instant is displayed.
        return inner if inner.tz is None else pa.timestamp(inner.unit, "UTC")
    if not (
        kind.is_integer(inner)
        or kind.is_floating(inner)
        or kind.is_boolean(inner)
        or kind.is_date32(inner)
        or kind.is_decimal128(inner)
    ):
        raise TypeError(f"a column of type {inner} has no digest")
    return inner


def _is_text(column_type: pa.DataType) -> bool:
    import pyarrow.types as kind

    return kind.is_large_string(column_type)


def _fill_nulls(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.types as kind

    if _is_text(array.type):
        return array.fill_null("")
    if kind.is_decimal128(array.type):
        return array.fill_null(pa.array([b"\0" * 16], pa.binary(16)).view(array.type)[0])
    if kind.is_date32(array.type):
        return array.fill_null(pa.scalar(0, pa.int32()).cast(array.type))
    return array.fill_null(pa.scalar(False if kind.is_boolean(array.type) else 0, array.type))


def _value_bytes(array: pa.Array) -> memoryview[int]:
    width = array.type.bit_width // 8
    return memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def _text_bytes(array: pa.Array) -> Any:
    _, offsets, data = array.buffers()
    start, end = (_read_offset(offsets, index) for index in (array.offset, array.offset + len(array)))
    return memoryview(data or b"")[start:end]


def _read_offset(offsets: pa.Buffer, index: int) -> int:
    return int.from_bytes(memoryview(offsets)[index * 8 : index * 8 + 8], "little")


def _encode_length(value: int) -> bytes:
    return value.to_bytes(8, "little")

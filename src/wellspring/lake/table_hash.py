"""Digest of a table's rows: equal for equal values, regardless of chunking, slicing, encoding and padding."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from wellspring.records.record import Digest

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION_TAG = b"wellspring rows v1\n"


def hash_rows(table: pa.Table) -> Digest:
    """Hash a table: SHA-256 over its number of rows and, by column name, (name, type, validity, lengths, values).

    The order of rows matters, the order of columns does not. Numbers are little-endian; validity is one bit per row,
    least significant bit first; a null is hashed as zero or as empty text; text is the 8-byte length of each value,
    then all bytes. Accepts string, integer, float, bool, date32, timestamp and decimal128 columns; raises TypeError
    for any other type and ValueError for duplicate column names.
    """
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    digest = hashlib.sha256(_VERSION_TAG)
    digest.update(_encode_length(table.num_rows))
    for name in sorted(names):
        kind, parts = _canonical_parts(_single_array(table[name]))
        for part in (name.encode(), kind.encode(), *parts):
            digest.update(_encode_length(memoryview(part).nbytes))
            digest.update(part)
    return digest.hexdigest()


def _encode_length(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _single_array(column: pa.ChunkedArray) -> pa.Array:
    """Convert a column to one plain array: no chunks, no dictionary, no string view, 64-bit text offsets."""
    import pyarrow as pa
    import pyarrow.types as kind

    inner = column.type.value_type if kind.is_dictionary(column.type) else column.type
    if kind.is_string(inner) or kind.is_large_string(inner) or kind.is_string_view(inner):
        inner = pa.large_string()
    elif kind.is_timestamp(inner) and inner.tz is not None:
        # The time zone affects only how an instant is displayed.
        inner = pa.timestamp(inner.unit, "UTC")
    if column.type != inner:
        column = column.cast(inner)
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], inner)


def _canonical_parts(array: pa.Array) -> tuple[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kind

    valid = _pack_bits(pc.is_valid(array)) if array.null_count else b""
    if kind.is_large_string(array.type):
        filled = array.fill_null("") if array.null_count else array
        lengths = pc.binary_length(filled)
        offsets, first = filled.buffers()[1], filled.offset
        if not len(filled) or offsets is None:
            return "string", [valid, b"", b""]
        start, end = (_read_offset(offsets, first), _read_offset(offsets, first + len(filled)))
        data = memoryview(filled.buffers()[2] or b"")[start:end]
        return "string", [valid, _value_bytes(lengths, 8), data]
    if kind.is_boolean(array.type):
        return "bool", [valid, _pack_bits(array.fill_null(False))]
    if not (
        kind.is_integer(array.type)
        or kind.is_floating(array.type)
        or kind.is_date32(array.type)
        or kind.is_timestamp(array.type)
        or kind.is_decimal128(array.type)
    ):
        raise TypeError(f"a column of type {array.type} has no digest")
    if array.null_count:
        zero = pa.array([b"\0" * 16], pa.binary(16)).view(array.type) if kind.is_decimal128(array.type) else None
        array = array.fill_null(zero[0] if zero is not None else _zero_value(array.type))
    return str(array.type), [valid, _value_bytes(array, array.type.bit_width // 8)]


def _zero_value(kind: pa.DataType) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(0, pa.int64()).cast(pa.int32()).cast(kind) if kind == pa.date32() else pa.scalar(0, kind)


def _value_bytes(array: pa.Array, width: int) -> memoryview[int]:
    if not len(array):
        return memoryview(b"")
    return memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def _read_offset(offsets: pa.Buffer, index: int) -> int:
    return int.from_bytes(memoryview(offsets)[index * 8 : index * 8 + 8], "little")


def _pack_bits(flags: pa.Array) -> bytes:
    """Pack booleans from the first bit, with the unused bits of the last byte set to zero."""
    import pyarrow as pa

    if not len(flags):
        return b""
    fresh = pa.concat_arrays([flags, flags.slice(0, 0)]) if flags.offset == 0 else _realign_bits(flags)
    packed = bytearray(memoryview(fresh.buffers()[1])[: (len(flags) + 7) // 8])
    if len(flags) % 8:
        packed[-1] &= (1 << len(flags) % 8) - 1
    return bytes(packed)


def _realign_bits(flags: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    # The output of a compute kernel starts at the first bit.
    return pc.invert(pc.invert(flags))

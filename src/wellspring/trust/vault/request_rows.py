"""Receive the rows that follow a request of the worker: hashes of earlier rows, and the names of their drops.

The worker is not trusted with the enclave's memory. Arrow can hold gigabytes in a few bytes: compressed bodies, long
texts that many rows share, columns without bytes. So a message is checked before Arrow decodes it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wellspring.errors import Refused
from wellspring.trust.vault.protocol import PayloadStream, receive_rows

if TYPE_CHECKING:
    import pyarrow as pa

MAX_REQUEST_BYTES = 4 << 30
MAX_COLUMNS = 8
MAX_TEXT_BYTES = 256
"""Of the name of a drop."""
_MAX_METADATA_BYTES = 1 << 20
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_CONTINUATION = 0xFFFFFFFF


def receive_request_rows(payload: PayloadStream) -> pa.RecordBatchReader:
    """Return the rows of a request; each batch is received and checked when it is read.

    Raises Refused for too many bytes or columns, for a compressed message, for another type than integers and short
    texts of a dictionary, and for what is not Arrow; Unavailable when the connection is lost; also while rows are read.
    """
    import pyarrow as pa

    if payload.remaining > MAX_REQUEST_BYTES:
        raise _refuse(f"its rows have more than {MAX_REQUEST_BYTES:,} bytes")
    rows = receive_rows(payload, _UncompressedStream(payload))
    if len(rows.schema) > MAX_COLUMNS or not _has_expected_types(rows.schema):
        raise _refuse(f"its rows have other columns than {MAX_COLUMNS} of integers and names")

    def check_batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            _check_texts(batch)
            yield batch

    return pa.RecordBatchReader.from_batches(rows.schema, check_batches())


def _has_expected_types(schema: pa.Schema) -> bool:
    import pyarrow as pa

    text_type = pa.dictionary(pa.int32(), pa.string())
    try:
        # A name that is not UTF-8 raises where it is read.
        return bool(schema.names) and all(
            pa.types.is_integer(field.type) or field.type == text_type for field in schema
        )
    except UnicodeDecodeError:
        return False


def _check_texts(batch: pa.RecordBatch) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            if longest > MAX_TEXT_BYTES:
                raise _refuse(f"a name in its rows has more than {MAX_TEXT_BYTES} bytes")


class _UncompressedStream(io.RawIOBase):
    """The messages of an Arrow stream, each of which is refused before its body is read if the body is compressed."""

    def __init__(self, payload: PayloadStream) -> None:
        super().__init__()
        self._payload = payload
        self._head: bytes = b""
        self._body_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read exactly `size` bytes, or fewer at the end of the stream."""
        parts: list[bytes] = []
        while size:
            if not self._head and not self._body_bytes:
                self._read_head()
                if not self._head:
                    break
            end = size if size > 0 else len(self._head)
            part, self._head = self._head[:end], self._head[end:]
            if not part:
                part = self._payload.read(self._body_bytes if size < 0 else min(size, self._body_bytes))
                if not part:
                    break
                self._body_bytes -= len(part)
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)

    def _read_head(self) -> None:
        """Read the length and the metadata of the next message, and check them."""
        prefix = self._payload.read(8)
        length = 0
        if len(prefix) == 8:
            mark, length = struct.unpack("<II", prefix)
            if mark != _CONTINUATION or length > _MAX_METADATA_BYTES:
                raise _refuse("its rows are not an Arrow stream")
        metadata = self._payload.read(length)
        self._head = prefix + metadata
        if metadata:
            try:
                self._body_bytes = _check_metadata(metadata)
            except struct.error:
                raise _refuse("its rows are not an Arrow stream") from None


def _check_metadata(metadata: bytes) -> int:
    """Return the length of a message's body. Raises Refused if it is compressed; struct.error for other bytes.

    The fields are those of Message.fbs and Schema.fbs of Apache Arrow, in the encoding of FlatBuffers.
    """
    message = _read_offset(metadata, 0)
    kind_place, header_place, length_place = (_find_field(metadata, message, field) for field in (1, 2, 3))
    kind = metadata[kind_place] if kind_place else 0
    if kind in {_DICTIONARY_BATCH, _RECORD_BATCH}:
        batch = _read_offset(metadata, header_place)
        if kind == _DICTIONARY_BATCH:
            batch = _read_offset(metadata, _find_field(metadata, batch, 1))
        if _find_field(metadata, batch, 3):
            raise _refuse("its rows are compressed")
    (length,) = struct.unpack_from("<q", metadata, length_place) if length_place else (0,)
    if length < 0:
        raise _refuse("its rows are not an Arrow stream")
    return int(length)


def _read_offset(content: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", content, place)[0])


def _find_field(content: bytes, table: int, field: int) -> int:
    """Return where a field of a table stands; 0 if the table does not have it."""
    layout = table - int(struct.unpack_from("<i", content, table)[0])
    if layout < 0:
        raise struct.error
    (size,) = struct.unpack_from("<H", content, layout)
    place = 4 + 2 * field
    (offset,) = struct.unpack_from("<H", content, layout + place) if place + 2 <= size else (0,)
    if offset and table + offset >= len(content):
        raise struct.error
    return table + int(offset) if offset else 0


def _refuse(reason: str) -> Refused:
    return Refused(f"the request is not read: {reason}", fix="send what `summarize_known_rows` returns")

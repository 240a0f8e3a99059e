"""Encode the frames on the enclave's sockets: 4 bytes of length (big-endian), then JSON; rows follow as Arrow.

A request is {"op", ...}. The response is any number of {"kind": "progress", "stage", "done", "total"}, then one
{"kind": "done", "value"} or one {"kind": "error", "slug", "what", "fix", "verdict"}. A request or a `done` frame with
"arrow_bytes": N is followed by N bytes of an Arrow IPC stream, sent from a file and received batch by batch: neither
side holds the table. The next frame follows the last of these bytes.
"""

from __future__ import annotations

import io
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from pydantic import JsonValue

from wellspring import errors
from wellspring.errors import Refused, Unavailable, WellspringError
from wellspring.records.ingestion import AdmissionCounts, AdmissionResult, Drop

if TYPE_CHECKING:
    import pyarrow as pa

FrameMessage = dict[str, JsonValue]

REQUEST_LIMIT = 64 << 10
REPLY_LIMIT = 256 << 20
TABLE_LIMIT = 64 << 30
_HEADER_BYTES = 4
_CHUNK_BYTES = 1 << 20


def send_frame(connection: socket.socket, message: FrameMessage, payload: BinaryIO | None = None) -> None:
    """Send one frame, and the rest of a file as its Arrow bytes. Raises OSError if the peer closed the connection."""
    length = 0
    if payload is not None:
        start = payload.tell()
        length = payload.seek(0, io.SEEK_END) - start
        payload.seek(start)
        message = {**message, "arrow_bytes": length}
    content = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    connection.sendall(len(content).to_bytes(_HEADER_BYTES, "big") + content)
    while payload is not None and (block := payload.read(_CHUNK_BYTES)):
        # The socket timeout applies to each block, not to the whole table.
        connection.sendall(block)


def receive_frame(connection: socket.socket, *, limit: int, timeout: float = math.inf) -> FrameMessage | None:
    """Receive one frame; None if the peer closed the connection between frames.

    timeout: seconds for the whole frame from its first byte on, so that a peer cannot send it arbitrarily slowly.
    Before the first byte, and without a timeout, the timeout of the socket applies.
    Raises Refused for a malformed frame (too long, not a JSON object), Unavailable if it is incomplete.
    """
    first_bytes = _receive_chunk(connection, _HEADER_BYTES)
    if not first_bytes:
        return None
    previous_timeout, deadline = connection.gettimeout(), time.monotonic() + timeout
    try:
        length = int.from_bytes(_receive_exactly(connection, _HEADER_BYTES, deadline, first_bytes), "big")
        if length > limit:
            raise _malformed_frame(f"a frame of {length:,} bytes is more than {limit:,}")
        content = _receive_exactly(connection, length, deadline)
    finally:
        connection.settimeout(previous_timeout)
    try:
        message = json.loads(bytes(content))
    except (ValueError, RecursionError):
        # ValueError covers JSON and UTF-8; deeply nested brackets raise RecursionError.
        raise _malformed_frame("a frame is not JSON") from None
    if not isinstance(message, dict):
        raise _malformed_frame("a frame is not a JSON object")
    return cast(FrameMessage, message)


class PayloadStream(io.RawIOBase):
    """The bytes that follow a frame, as a file that is read once, from the socket.

    remaining: bytes not read yet; the next frame can be received when it is 0. owns_connection: close the connection
    with this stream, after its last byte or when it is no longer referenced. Memory grows with the received bytes, not
    with the length in the frame.
    """

    def __init__(self, connection: socket.socket, length: int, *, owns_connection: bool = False) -> None:
        super().__init__()
        self.remaining = length
        self._connection = connection
        self._owns_connection = owns_connection

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read exactly `size` bytes, or all bytes that remain when there are fewer. Raises Unavailable."""
        unread = self.remaining if size < 0 else min(size, self.remaining)
        chunks: list[bytes] = []
        while unread:
            chunk = _receive_chunk(self._connection, min(unread, _CHUNK_BYTES))
            if not chunk:
                raise Unavailable("the connection was closed within a table", fix="try again")
            chunks.append(chunk)
            unread -= len(chunk)
            self.remaining -= len(chunk)
        if not self.remaining and self._owns_connection:
            self._connection.close()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        if self._owns_connection:
            self._connection.close()
        super().close()


def payload_length(message: FrameMessage) -> int:
    """Return the number of Arrow bytes that follow a frame. Raises Refused for anything but 0 to TABLE_LIMIT."""
    length = message.get("arrow_bytes", 0)
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= TABLE_LIMIT:
        raise _malformed_frame(f"the length of a table is not a number up to {TABLE_LIMIT:,}")
    return length


def receive_rows(payload: PayloadStream, file: io.RawIOBase | None = None) -> pa.RecordBatchReader:
    """Return the rows of a payload; each batch is received when it is read, and its memory is checked.

    file: what reads and checks the payload, if it is not read directly.
    Raises Refused for bytes that are not Arrow, Unavailable when the connection is lost; also while rows are read.
    """
    import pyarrow as pa

    try:
        stream = pa.ipc.open_stream(file or payload)
    except (pa.ArrowException, OSError):
        raise _malformed_frame("a table is not an Arrow stream") from None

    def receive_batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in stream:
                batch.validate(full=True)
                yield batch
        except (pa.ArrowException, OSError):
            raise _malformed_frame("a table is not an Arrow stream") from None
        if payload.remaining:
            raise _malformed_frame("a table is shorter than its frame says")

    return pa.RecordBatchReader.from_batches(stream.schema, receive_batches())


def spool_rows(rows: pa.RecordBatchReader, file: BinaryIO) -> BinaryIO:
    """Write rows to a file as an Arrow stream, and return the file at its beginning."""
    import pyarrow as pa

    with pa.ipc.new_stream(file, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
    file.seek(0)
    return file


def _receive_exactly(connection: socket.socket, length: int, deadline: float, first_bytes: bytes = b"") -> bytearray:
    content = bytearray(first_bytes)
    while len(content) < length:
        if deadline != math.inf:
            if (remaining := deadline - time.monotonic()) <= 0:
                raise Unavailable("the other side took too long to send a frame", fix="try again")
            connection.settimeout(remaining)
        # Memory grows with the received bytes, not with the length in the header.
        chunk = _receive_chunk(connection, min(length - len(content), _CHUNK_BYTES))
        if not chunk:
            raise Unavailable("the connection was closed within a frame", fix="try again")
        content += chunk
    return content


def _receive_chunk(connection: socket.socket, limit: int) -> bytes:
    try:
        return connection.recv(limit)
    except OSError as exc:
        raise Unavailable(f"the connection was lost ({type(exc).__name__})", fix="try again") from None


def _malformed_frame(message: str) -> Refused:
    return Refused(message, fix="send frames of wellspring.trust.vault.protocol")


def encode_error(error: WellspringError) -> FrameMessage:
    """Encode an error as a frame, which `errors.decode_error` decodes."""
    return {"kind": "error", **errors.encode_error(error)}


def encode_admission(
    admission: AdmissionResult, open_spool: Callable[[], BinaryIO] = io.BytesIO
) -> tuple[JsonValue, BinaryIO | None]:
    """Encode an admission result as JSON and the Arrow stream of its rows, which are read to their end into a spool."""
    value: JsonValue = {
        "drop": admission.drop.model_dump(mode="json"),
        "counts": admission.counts.model_dump(mode="json"),
    }
    return value, None if admission.rows is None else spool_rows(admission.rows, open_spool())


def decode_admission(value: JsonValue, rows: pa.RecordBatchReader | None) -> AdmissionResult:
    """Decode an admission result. rows: None if the whole drop was rejected."""
    fields = cast(dict[str, JsonValue], value)
    return AdmissionResult(
        drop=Drop.model_validate(fields["drop"]),
        counts=AdmissionCounts.model_validate(fields["counts"]),
        rows=rows,
    )

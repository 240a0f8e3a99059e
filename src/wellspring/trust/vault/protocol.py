"""Encode the frames on the enclave's sockets: 4 bytes of length (big-endian), then JSON; a table follows as Arrow.

A request is {"op", ...}. The response is any number of {"kind": "progress", "stage", "done", "total"}, then one
{"kind": "done", "value", "arrow_bytes": N} with N bytes of an Arrow IPC stream, or one
{"kind": "error", "slug", "what", "fix", "verdict"}.
"""

from __future__ import annotations

import json
import math
import socket
import time
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from wellspring import errors
from wellspring.errors import Refused, Unavailable, WellspringError
from wellspring.records.ingestion import AdmissionCounts, AdmissionResult, Drop

if TYPE_CHECKING:
    import pyarrow as pa

FrameMessage = dict[str, JsonValue]

REQUEST_LIMIT = 64 << 10
REPLY_LIMIT = 256 << 20
TABLE_LIMIT = 8 << 30
_HEADER_BYTES = 4
_CHUNK_BYTES = 1 << 20


def send_frame(connection: socket.socket, message: FrameMessage, arrow: bytes | memoryview = b"") -> None:
    """Send one frame and its Arrow bytes. Raises OSError if the peer has closed the connection."""
    content = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    connection.sendall(len(content).to_bytes(_HEADER_BYTES, "big") + content)
    view = memoryview(arrow)
    for start in range(0, len(view), _CHUNK_BYTES):
        # The socket timeout applies to each chunk, not to the whole table.
        connection.sendall(view[start : start + _CHUNK_BYTES])


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


def receive_payload(connection: socket.socket, length: int) -> bytearray:
    """Receive the Arrow bytes after a `done` frame. Raises Refused, Unavailable."""
    if not 0 <= length <= TABLE_LIMIT:
        raise _malformed_frame(f"a table of {length:,} bytes is more than {TABLE_LIMIT:,}")
    content = bytearray(length)
    view = memoryview(content)
    while view:
        try:
            received = connection.recv_into(view)
        except OSError as exc:
            raise Unavailable(f"the connection was lost ({type(exc).__name__})", fix="try again") from None
        if not received:
            raise Unavailable("the connection was closed within a table", fix="try again")
        view = view[received:]
    return content


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


def encode_admission(admission: AdmissionResult) -> tuple[JsonValue, memoryview | bytes]:
    """Encode an admission result as JSON and the Arrow stream of its table."""
    value: JsonValue = {
        "drop": admission.drop.model_dump(mode="json"),
        "counts": admission.counts.model_dump(mode="json"),
    }
    return value, b"" if admission.table is None else _encode_table(admission.table)


def decode_admission(value: JsonValue, arrow: bytes | bytearray) -> AdmissionResult:
    """Decode an admission result. arrow: empty if the whole drop was rejected."""
    fields = cast(dict[str, JsonValue], value)
    return AdmissionResult(
        drop=Drop.model_validate(fields["drop"]),
        counts=AdmissionCounts.model_validate(fields["counts"]),
        table=_decode_table(arrow) if arrow else None,
    )


def _encode_table(table: pa.Table) -> memoryview:
    import pyarrow as pa

    # Measure first and allocate once: a growing buffer takes four times as long.
    measure = pa.MockOutputStream()
    with pa.ipc.new_stream(measure, table.schema) as writer:
        writer.write_table(table)
    buffer = pa.allocate_buffer(measure.size())
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(buffer), table.schema) as writer:
        writer.write_table(table)
    return memoryview(buffer)


def _decode_table(arrow: bytes | bytearray) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(arrow)) as reader:
        return reader.read_all()

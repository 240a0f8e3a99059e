"""What goes over the enclave's sockets: 4 bytes of length (big-endian), then that much JSON; a table follows as Arrow.

A request is {"op", ...}. It is answered by any number of {"kind": "progress", "stage", "done", "total"}, then by one
{"kind": "done", "value", "arrow": N} and N bytes of an Arrow IPC stream, or by one
{"kind": "error", "slug", "what", "fix", "verdict"}.
"""

from __future__ import annotations

import json
import math
import socket
import time
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from wellspring.errors import BY_SLUG, Refused, Unavailable, WellspringError
from wellspring.records.data import Drop, Intake
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

Message = dict[str, JsonValue]

REQUEST_LIMIT = 64 << 10
REPLY_LIMIT = 256 << 20
TABLE_LIMIT = 8 << 30
_HEAD = 4
_PIECE = 1 << 20


def send(connection: socket.socket, message: Message, arrow: bytes | memoryview = b"") -> None:
    """Send one frame, and the bytes that it announces. Raises OSError when the other side is gone."""
    content = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    connection.sendall(len(content).to_bytes(_HEAD, "big") + content)
    view = memoryview(arrow)
    for start in range(0, len(view), _PIECE):
        # A timeout of the socket counts for each piece, not for a whole table.
        connection.sendall(view[start : start + _PIECE])


def receive(connection: socket.socket, *, limit: int, within: float = math.inf) -> Message | None:
    """Receive one frame; None when the other side closed between two.

    within: seconds for the whole frame from its first byte on, so that nobody makes one last by sending it in drops;
    before the first byte, and without it, the socket's own timeout counts.
    Raises Refused for bytes that are no frame (too long, no JSON object), Unavailable when it breaks off inside one.
    """
    begun = _piece(connection, _HEAD)
    if not begun:
        return None
    kept, until = connection.gettimeout(), time.monotonic() + within
    try:
        length = int.from_bytes(_exactly(connection, _HEAD, until, begun), "big")
        if length > limit:
            raise _no_frame(f"a frame of {length:,} bytes is more than {limit:,}")
        content = _exactly(connection, length, until)
    finally:
        connection.settimeout(kept)
    try:
        message = json.loads(bytes(content))
    except (ValueError, RecursionError):
        # ValueError covers JSON and UTF-8; a deep nest of brackets ends in RecursionError.
        raise _no_frame("a frame is not JSON") from None
    if not isinstance(message, dict):
        raise _no_frame("a frame is no JSON object")
    return cast(Message, message)


def receive_bytes(connection: socket.socket, length: int) -> bytearray:
    """Receive what a `done` frame announced. Raises Refused, Unavailable."""
    if not 0 <= length <= TABLE_LIMIT:
        raise _no_frame(f"a table of {length:,} bytes is announced")
    content = bytearray(length)
    view = memoryview(content)
    while view:
        try:
            got = connection.recv_into(view)
        except OSError as wrong:
            raise Unavailable(f"the other side broke off ({type(wrong).__name__})", fix="try again") from None
        if not got:
            raise Unavailable("the other side broke off within a table", fix="try again")
        view = view[got:]
    return content


def _exactly(connection: socket.socket, length: int, until: float, begun: bytes = b"") -> bytearray:
    content = bytearray(begun)
    while len(content) < length:
        if until != math.inf:
            if (left := until - time.monotonic()) <= 0:
                raise Unavailable("the other side takes too long for a frame", fix="try again")
            connection.settimeout(left)
        # Memory grows with what has come, not with what a head of four bytes claims.
        piece = _piece(connection, min(length - len(content), _PIECE))
        if not piece:
            raise Unavailable("the other side broke off within a frame", fix="try again")
        content += piece
    return content


def _piece(connection: socket.socket, most: int) -> bytes:
    try:
        return connection.recv(most)
    except OSError as wrong:
        raise Unavailable(f"the other side broke off ({type(wrong).__name__})", fix="try again") from None


def _no_frame(what: str) -> Refused:
    return Refused(what, fix="speak the frames of wellspring.trust.vault.frames")


def error_out(wrong: WellspringError) -> Message:
    """Write an error as a frame."""
    verdict = wrong.verdict if isinstance(wrong, Refused) else None
    return {
        "kind": "error",
        "slug": wrong.slug,
        "what": wrong.what,
        "fix": wrong.fix,
        "verdict": None if verdict is None else verdict.model_dump(mode="json"),
    }


def error_in(message: Message) -> WellspringError:
    """Read an error out of its frame: the same kind, the same words, the same verdict."""
    kind = BY_SLUG.get(str(message.get("slug")), WellspringError)
    what, fix, verdict = str(message.get("what", "")), str(message.get("fix", "")), message.get("verdict")
    if kind is Refused and verdict is not None:
        return Refused(what, fix=fix, verdict=Verdict.model_validate(verdict))
    return kind(what, fix=fix)


def intake_out(intake: Intake) -> tuple[JsonValue, memoryview | bytes]:
    """Write an intake as JSON and the Arrow stream of its table."""
    value: JsonValue = {
        "drop": intake.drop.model_dump(mode="json"),
        "verdict": intake.verdict.model_dump(mode="json"),
        "received": intake.received,
        "admitted": intake.admitted,
        "quarantined": intake.quarantined,
        "masked": intake.masked,
        "reasons": [reason.model_dump(mode="json") for reason in intake.reasons],
        "rows_digest": intake.rows_digest,
    }
    return value, b"" if intake.table is None else _table_out(intake.table)


def intake_in(value: JsonValue, arrow: bytes | bytearray) -> Intake:
    """Read an intake. arrow: empty when the drop was stopped whole."""
    fields = cast(dict[str, JsonValue], value)
    return Intake(
        drop=Drop.model_validate(fields["drop"]),
        verdict=Verdict.model_validate(fields["verdict"]),
        received=int(str(fields["received"])),
        admitted=int(str(fields["admitted"])),
        quarantined=int(str(fields["quarantined"])),
        masked=int(str(fields["masked"])),
        reasons=tuple(Reason.model_validate(reason) for reason in cast(list[JsonValue], fields["reasons"])),
        rows_digest=str(fields["rows_digest"]),
        table=_table_in(arrow) if arrow else None,
    )


def _table_out(table: pa.Table) -> memoryview:
    import pyarrow as pa

    # Measured first and written once: a buffer that grows as it is written costs four times as much.
    measure = pa.MockOutputStream()
    with pa.ipc.new_stream(measure, table.schema) as writer:
        writer.write_table(table)
    buffer = pa.allocate_buffer(measure.size())
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(buffer), table.schema) as writer:
        writer.write_table(table)
    return memoryview(buffer)


def _table_in(arrow: bytes | bytearray) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(arrow)) as reader:
        return reader.read_all()

"""Call the sequencer's process over its Unix socket: one line of JSON there, one line back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, cast

from wellspring.errors import Unavailable, decode_error
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket
from wellspring.trust.ledger.tree import SignedCheckpoint

MAX_REQUEST_BYTES = 4096
_STATUS_TIMEOUT = 5.0
_INTEGRATE_TIMEOUT = 600.0


class SequencerStatus(NamedTuple):
    """What the sequencer last did. pending: durable lines that are not in the log. checkpoint_at: '' before the first.

    problem: why the log does not grow, or why the log of one service does not; '' if nothing stops it.
    """

    size: int
    checkpoint_at: str
    pending: int
    problem: str


class PackReport(NamedTuple):
    """What one run of the packing wrote: line packs, and lines in them."""

    packs: int
    lines: int


class LogSequencer(Protocol):
    """The sequencer, in this process or behind a socket."""

    def integrate(self) -> SignedCheckpoint:
        """Wait until the log and its index hold everything that is durable in the journals now.

        Raises Unavailable if the sequencer, the signer or the witness does not respond: nothing is lost.
        """
        ...


class RemoteSequencer:
    """The sequencer behind its socket. service: the caller, whose own journal must be in the log without a finding.

    timeout: seconds that an integration may take.
    """

    def __init__(self, socket: ServerSocket, service: str, *, timeout: float = _INTEGRATE_TIMEOUT) -> None:
        self._socket = socket
        self._service = service
        self._timeout = timeout

    def integrate(self) -> SignedCheckpoint:
        response = self._request({"op": "integrate", "service": self._service}, self._timeout)
        return SignedCheckpoint(
            int(response["size"]), bytes.fromhex(response["root"]), str(response["note"]).encode("utf-8")
        )

    def pack_lines(self) -> PackReport:
        """Pack the lines of answers that the log has and no line pack holds. Raises CorruptedError for a lost line."""
        response = self._request({"op": "pack"}, _INTEGRATE_TIMEOUT)
        return PackReport(int(response["packs"]), int(response["lines"]))

    def rotate_key(self) -> str:
        """Have the log's key followed by a new one; return the new verifier key. Raises Unavailable."""
        return str(self._request({"op": "rotate_key"}, _INTEGRATE_TIMEOUT)["key"])

    def read_status(self) -> SequencerStatus:
        response = self._request({"op": "status"}, _STATUS_TIMEOUT)
        return SequencerStatus(
            size=int(response["size"]),
            checkpoint_at=str(response["checkpoint_at"]),
            pending=int(response["pending"]),
            problem=str(response["problem"]),
        )

    def _request(self, request: Mapping[str, str], timeout: float) -> dict[str, Any]:
        """Send one request. timeout: seconds. Raises Unavailable, and the error that the sequencer returns."""
        try:
            with connect_unix_socket(self._socket, timeout) as connection:
                # A peer that refuses this user does not read the request, but it sends the reason.
                with suppress(BrokenPipeError):
                    connection.sendall(json.dumps(dict(request)).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    response = json.loads(lines.readline())
        except (OSError, ValueError) as exc:
            raise Unavailable(
                f"the sequencer does not respond at {self._socket.path} ({type(exc).__name__})",
                fix="run `wellspring up`",
            ) from None
        message = cast("dict[str, Any]", response)
        if "error" in message:
            raise decode_error(message["error"])
        return message

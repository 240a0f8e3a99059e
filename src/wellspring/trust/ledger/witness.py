"""The witness as a server behind a Unix socket (`POST /add-checkpoint`), and the sequencer's client of it."""

from __future__ import annotations

import http.client
import os
import socket as sockets
import socketserver
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from wellspring.errors import Unavailable, WellspringError
from wellspring.records.clock import Clock, SystemClock
from wellspring.trust.ledger.cosigner import Answer, Witness, register
from wellspring.trust.ledger.tree import encoded
from wellspring_verify import notes
from wellspring_verify.canonical import Malformed

__all__ = ["RemoteWitness", "Witness", "WitnessServer", "register", "serve"]

_LARGEST = 64 * 1024
_SECONDS = 10.0


class WitnessServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves one witness; call `serve_forever`, from another thread `shutdown`, then `server_close`.

    mode: of the socket, which says who may ask. Anybody may, as on the open web: only a log that is registered, with
    its own signature, is answered.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, witness: Witness, socket: Path, *, mode: int = 0o666) -> None:
        self.witness = witness
        self.path = socket
        socket.unlink(missing_ok=True)
        super().__init__(str(socket), _Handler)
        os.chmod(socket, mode)

    def server_close(self) -> None:
        super().server_close()
        self.path.unlink(missing_ok=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a client that goes away, or talks nonsense, is no news."""


class _Handler(BaseHTTPRequestHandler):
    # Only a WitnessServer ever makes one; the base class knows it as any server.
    server: WitnessServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _SECONDS
    server_version = "wellspring-witness"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/vkey":
            self._answer(Answer(200, f"{self.server.witness.vkey()}\n".encode()))
        else:
            self._answer(Answer(404, b"there is only /vkey and /add-checkpoint\n"))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            self._answer(Answer(404, b"there is only /vkey and /add-checkpoint\n"))
        elif not (length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= _LARGEST):
            self._answer(Answer(400, b"Content-Length is missing or too large\n"))
        else:
            try:
                asked = _parse(self.rfile.read(int(length)))
                answer = self.server.witness.add_checkpoint(*asked)
            except Malformed as wrong:
                answer = Answer(400, f"{wrong}\n".encode())
            except (WellspringError, OSError):
                answer = Answer(500, b"the witness cannot read or write its own folder\n")
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/x.tlog.size" if answer.status == 409 else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def address_string(self) -> str:
        """Name the peer: a Unix socket has no address."""
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Stay silent: what the witness saw is in its folder."""


class RemoteWitness:
    """A witness behind a Unix socket. Raises Unavailable when it does not answer."""

    def __init__(self, socket: Path, *, seconds: float = _SECONDS) -> None:
        self._socket = socket
        self._seconds = seconds

    def vkey(self) -> str:
        return self._ask("GET", "/vkey").body.decode("utf-8", "replace").strip()

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> Answer:
        lines = "".join(f"{one}\n" for one in encoded(proof))
        return self._ask("POST", "/add-checkpoint", f"old {old}\n{lines}\n".encode() + note)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        connection = _UnixConnection(self._socket, self._seconds)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            found = Answer(answer.status, answer.read(_LARGEST))
        except (OSError, http.client.HTTPException) as wrong:
            raise Unavailable(
                f"the witness does not answer at {self._socket} ({type(wrong).__name__})", fix="run `wellspring up`"
            ) from wrong
        finally:
            connection.close()
        if found.status >= 500:
            raise Unavailable("the witness cannot use its own folder", fix="see the witness's log, then try again")
        return found


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, socket: Path, seconds: float) -> None:
        super().__init__("witness", timeout=seconds)
        self._path = socket

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def serve(
    folder: Path, socket: Path, log_vkey: str | None = None, *, clock: Clock | None = None, mode: int = 0o666
) -> None:
    """Serve the witness of this folder until the process ends. log_vkey: a log to register first, if given.

    More logs may be registered while it runs: it reads the folder's `logs/` at each call.
    """
    witness = Witness(folder, clock=clock or SystemClock())
    if log_vkey is not None:
        register(folder, log_vkey)
    server = WitnessServer(witness, socket, mode=mode)
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()


def _parse(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Read `old <size>`, proof lines, an empty line, a checkpoint. Raises Malformed."""
    head, empty, note = body.partition(b"\n\n")
    first, *lines = head.decode("ascii", "replace").split("\n")
    size = first.removeprefix("old ")
    if not empty or size == first or not (size.isascii() and size.isdigit() and len(size) <= 15):
        raise Malformed("the body reads: old SIZE, at most 63 proof lines, an empty line, a checkpoint")
    if (size[0] == "0" and size != "0") or len(lines) > 63:
        raise Malformed("the size has leading zeros, or the proof more than 63 lines")
    hashes = [notes.unbase64(line) for line in lines]
    if any(len(one) != 32 for one in hashes):
        raise Malformed("a proof line is no SHA-256")
    return int(size), hashes, note

"""Serve the witness on a Unix socket (`POST /add-checkpoint`), and call it from the sequencer."""

from __future__ import annotations

import http.client
import os
import socketserver
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from wellspring.errors import Unavailable, WellspringError
from wellspring.records.clock import Clock, SystemClock
from wellspring.runtime.unix_socket import ServerSocket, UnixHTTPConnection
from wellspring.trust.ledger.cosigner import CosignResponse, LocalWitness, register_log
from wellspring.trust.ledger.tree import encode_hashes
from wellspring_verify import notes
from wellspring_verify.canonical import MalformedError

__all__ = ["LocalWitness", "RemoteWitness", "WitnessServer", "register_log", "serve_witness"]

_MAX_BODY_BYTES = 64 * 1024
_TIMEOUT_SECONDS = 10.0


class WitnessServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves one witness; call `serve_forever`, from another thread `shutdown`, then `server_close`.

    mode: of the socket. Every local user may connect, as on the public web: the witness only cosigns checkpoints that
    a registered log has signed.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, witness: LocalWitness, socket: Path, *, mode: int = 0o666) -> None:
        self.witness = witness
        self.path = socket
        socket.unlink(missing_ok=True)
        super().__init__(str(socket), _WitnessHandler)
        os.chmod(socket, mode)

    def server_close(self) -> None:
        super().server_close()
        self.path.unlink(missing_ok=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing for clients that disconnect or send malformed requests."""


class _WitnessHandler(BaseHTTPRequestHandler):
    # Only WitnessServer creates handlers; the base class types it as any server.
    server: WitnessServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _TIMEOUT_SECONDS
    server_version = "wellspring-witness"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/vkey":
            self._respond(CosignResponse(200, f"{self.server.witness.verifier_key()}\n".encode()))
        else:
            self._respond(CosignResponse(404, b"the paths are /vkey and /add-checkpoint\n"))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path not in ("/add-checkpoint", "/add-key"):
            self._respond(CosignResponse(404, b"the paths are /vkey, /add-key and /add-checkpoint\n"))
        elif not (length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= _MAX_BODY_BYTES):
            self._respond(CosignResponse(400, b"Content-Length is missing or too large\n"))
        else:
            try:
                body = self.rfile.read(int(length))
                if self.path == "/add-key":
                    response = self.server.witness.add_key(body)
                else:
                    response = self.server.witness.add_checkpoint(*_parse_add_checkpoint(body))
            except MalformedError as exc:
                response = CosignResponse(400, f"{exc}\n".encode())
            except (WellspringError, OSError):
                response = CosignResponse(500, b"the witness cannot read or write its own folder\n")
            self._respond(response)

    def _respond(self, response: CosignResponse) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", "text/x.tlog.size" if response.status == 409 else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def address_string(self) -> str:
        """Return a fixed name: a Unix socket has no peer address."""
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Log nothing: the folder of the witness records what it cosigned."""


class RemoteWitness:
    """A witness behind a Unix socket. Its methods raise Unavailable if it does not respond."""

    def __init__(self, socket: ServerSocket, *, timeout: float = _TIMEOUT_SECONDS) -> None:
        self._socket = socket
        self._timeout = timeout

    def verifier_key(self) -> str:
        return self._request("GET", "/vkey").body.decode("utf-8", "replace").strip()

    def add_key(self, note: bytes) -> CosignResponse:
        return self._request("POST", "/add-key", note)

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
        lines = "".join(f"{digest}\n" for digest in encode_hashes(proof))
        return self._request("POST", "/add-checkpoint", f"old {old}\n{lines}\n".encode() + note)

    def _request(self, method: str, path: str, body: bytes | None = None) -> CosignResponse:
        connection = UnixHTTPConnection(self._socket, host="witness", timeout=self._timeout)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            cosign_response = CosignResponse(response.status, response.read(_MAX_BODY_BYTES))
        except (OSError, http.client.HTTPException) as exc:
            raise Unavailable(
                f"the witness does not respond at {self._socket.path} ({type(exc).__name__})", fix="run `wellspring up`"
            ) from exc
        finally:
            connection.close()
        if cosign_response.status >= 500:
            raise Unavailable("the witness cannot use its own folder", fix="see the witness's log, then try again")
        return cosign_response


def serve_witness(
    folder: Path, socket: Path, log_vkey: str | None = None, *, clock: Clock | None = None, mode: int = 0o666
) -> None:
    """Serve the witness of this folder until the process ends. log_vkey: the key of a log to register first.

    More logs can be registered while it runs: it reads the folder's `logs/` on each request.
    """
    witness = LocalWitness(folder, clock=clock or SystemClock())
    if log_vkey is not None:
        register_log(folder, log_vkey)
    server = WitnessServer(witness, socket, mode=mode)
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()


def _parse_add_checkpoint(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Parse `old <size>`, proof lines, an empty line, a checkpoint. Raises MalformedError."""
    head, empty, note = body.partition(b"\n\n")
    first, *lines = head.decode("ascii", "replace").split("\n")
    size = first.removeprefix("old ")
    if not empty or size == first or not (size.isascii() and size.isdigit() and len(size) <= 15):
        raise MalformedError("the body has the form: old SIZE, at most 63 proof lines, an empty line, a checkpoint")
    if (size[0] == "0" and size != "0") or len(lines) > 63:
        raise MalformedError("the size has leading zeros, or the proof more than 63 lines")
    hashes = [notes.decode_base64(line) for line in lines]
    if any(len(digest) != 32 for digest in hashes):
        raise MalformedError("a proof line is not a SHA-256")
    return int(size), hashes, note

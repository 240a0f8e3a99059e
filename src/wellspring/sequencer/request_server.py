"""Answer the requests to the sequencer on its Unix socket: one line of JSON, one line back."""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wellspring.errors import Refused, Unavailable, WellspringError, encode_error
from wellspring.observe.refusal_log import RefusalLog
from wellspring.project import Project
from wellspring.runtime.process import format_location
from wellspring.runtime.service_users import read_service_users
from wellspring.runtime.unix_socket import peer_uid
from wellspring.sequencer.integration import IntegrationLoop
from wellspring.sequencer.packing_loop import PackingLoop
from wellspring.trust.ledger.remote_sequencer import MAX_REQUEST_BYTES

CALLING_SERVICES = ("worker", "api", "enclave")
_REQUEST_TIMEOUT = 10.0
MAX_CONNECTIONS = 64
"""Open connections of one user: more than all jobs of a worker have, and none that others lack."""


class RequestServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves the two loops of the sequencer; call `serve_forever`, from another thread `shutdown`, then `server_close`.

    uids: the users who may send requests, each with at most MAX_CONNECTIONS at a time. Others may connect, and get a
    refusal, which `refusals` records.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, path: Path, loop: IntegrationLoop, packing: PackingLoop, uids: frozenset[int], refusals: RefusalLog
    ) -> None:
        self.loop = loop
        self.packing = packing
        self.path = path
        self._refusals = refusals
        self._slots = {uid: threading.BoundedSemaphore(MAX_CONNECTIONS) for uid in uids}
        path.unlink(missing_ok=True)
        super().__init__(str(path), _RequestHandler)
        os.chmod(path, 0o666)  # noqa: S103 (the uid of each peer is checked, so that a refusal has a reason)

    def server_close(self) -> None:
        super().server_close()
        self.path.unlink(missing_ok=True)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 (a signature of socketserver)
        """Refuse the users that may not send requests or send too many, before a thread is started for them."""
        uid = peer_uid(request)
        error: WellspringError
        if uid not in self._slots:
            error = Refused(
                f"user {uid} may not send requests to the sequencer",
                fix="only the services of this project and its owner may",
            )
            self._refusals.record("connect", "server:sequencer", f"uid:{uid}", error)
        elif self._slots[uid].acquire(blocking=False):
            return True
        else:
            error = Unavailable(f"user {uid} has {MAX_CONNECTIONS} open connections", fix="try again in a moment")
        request.sendall(_encode_line({"error": encode_error(error)}))
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, and count it until it ends."""
        uid = peer_uid(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots[uid].release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (a signature of socketserver)
        """Log where an unforeseen error happened; a peer that disconnected is not one."""
        exc_type, exc, exc_traceback = sys.exc_info()
        if exc_type is not None and not isinstance(exc, OSError):
            print(format_location(exc_type, exc_traceback), file=sys.stderr)


class _RequestHandler(socketserver.StreamRequestHandler):
    # Only RequestServer creates handlers; the base class types it as any server.
    server: RequestServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _REQUEST_TIMEOUT

    def handle(self) -> None:
        try:
            response = handle_request(self.server.loop, self.server.packing, self.rfile.readline(MAX_REQUEST_BYTES))
        except WellspringError as exc:
            response = {"error": encode_error(exc)}
        self.wfile.write(_encode_line(response))


def handle_request(loop: IntegrationLoop, packing: PackingLoop, line: bytes) -> dict[str, Any]:
    """Return the response to one request. Raises Refused for a request that it does not know."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    match request:
        case {"op": "integrate", "service": str(service)}:
            checkpoint = loop.integrate_for(service)
            return {"size": checkpoint.size, "root": checkpoint.root.hex(), "note": checkpoint.note.decode("utf-8")}
        case {"op": "rotate_key"}:
            return {"key": loop.rotate_key()}
        case {"op": "pack"}:
            return packing.pack()._asdict()
        case {"op": "ping"}:
            return {}
        case {"op": "status"}:
            status = loop.read_status()
            return status._replace(problem=status.problem or packing.problem)._asdict()
        case _:
            raise Refused(
                "the sequencer does not know this request",
                fix="send one of: integrate, pack, rotate_key, status",
            )


def allowed_uids(project: Project) -> frozenset[int]:
    """Return the users who may send requests: worker, API, enclave, the owner of the project's state, and root.

    If the services share one user: only that user.
    """
    own_uid, users = os.geteuid(), read_service_users(project)
    if own_uid != users.uid_of("sequencer"):
        return frozenset({own_uid})
    return frozenset({*(users.uid_of(name) for name in CALLING_SERVICES), project.state_dir.stat().st_uid, 0})


def _encode_line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(message)).encode() + b"\n"

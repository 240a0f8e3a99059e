"""Unix socket server of the enclave. It checks the uid of each peer before it reads a request."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pydantic import JsonValue

from wellspring.errors import NotFound, Refused, Unavailable, WellspringError, suggest_name
from wellspring.project import RESERVED_UIDS, Project
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.runtime.service_users import read_service_users
from wellspring.runtime.unix_socket import bind_public_socket, peer_uid
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback
from wellspring.trust.vault.request_rows import receive_request_rows

if TYPE_CHECKING:
    import pyarrow as pa

RequestHandler = Callable[[protocol.FrameMessage, ProgressCallback], tuple[JsonValue, BinaryIO | None]]
"""Handles one request; returns a JSON value and a file with an Arrow stream, if there are rows."""
RowHandler = Callable[
    [protocol.FrameMessage, ProgressCallback, "pa.RecordBatchReader | None"], tuple[JsonValue, BinaryIO | None]
]
"""Handles one request that may carry rows."""
UidHandler = Callable[[protocol.FrameMessage, int], JsonValue]
"""Handles one request with the uid of the peer process, as reported by the kernel."""

IDLE_TIMEOUT = 30.0
LINGER_SECONDS = 1.0
_MAX_CONNECTIONS = 16
_BACKLOG = 256


class SocketSpec(NamedTuple):
    """One socket. uids: the users who may connect. handlers: by the `op` of a request.

    uid_handlers: further handlers by `op`, which also get the uid of the peer. row_handlers: those that take rows.
    """

    name: str
    path: Path
    uids: frozenset[int]
    handlers: Mapping[str, RequestHandler]
    uid_handlers: Mapping[str, UidHandler] = MappingProxyType({})
    row_handlers: Mapping[str, RowHandler] = MappingProxyType({})


class SocketServer:
    """Serves sockets on threads of its own.

    idle_timeout: seconds between two frames, and seconds for one whole frame. linger_seconds: total seconds in which a
    rejected peer may finish sending.

    Each allowed user of a socket has its own connection limit, so that one user cannot block another. Users who are not
    allowed share one limit per socket; they get an error, and the rejection is recorded. At most one entry per second,
    socket and user is written, with the number of suppressed rejections, so that rejections cannot flood the ledger.
    """

    def __init__(
        self,
        specs: tuple[SocketSpec, ...],
        *,
        step: Recorder,
        clock: Clock,
        idle_timeout: float = IDLE_TIMEOUT,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._step = step
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._linger_seconds = linger_seconds
        self._denials = _DenialLog(step, clock)
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        for spec in specs:
            listener = bind_public_socket(spec.path, backlog=_BACKLOG)
            self._listeners.append(listener)
            thread = threading.Thread(
                target=self._accept_loop, args=(spec, listener), name=f"{spec.name} socket", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop accepting connections. Open connections end with the process."""
        for listener in self._listeners:
            # shutdown wakes the thread that waits in accept; close does not.
            listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for listener in self._listeners:
            listener.close()

    def _accept_loop(self, spec: SocketSpec, listener: socket.socket) -> None:
        allowed_slots = {uid: threading.BoundedSemaphore(_MAX_CONNECTIONS) for uid in spec.uids}
        denied_slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        while True:
            try:
                connection, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                return
            connection.settimeout(self._idle_timeout)
            uid = peer_uid(connection)
            slots = allowed_slots.get(uid, denied_slots)
            if slots.acquire(blocking=False):
                handler = self._serve_requests if uid in spec.uids else self._reject_connection
                threading.Thread(
                    target=self._serve_connection, args=(slots, handler, spec, connection, uid), daemon=True
                ).start()
                continue
            # This thread accepts all connections, so it must not block on one of them.
            if uid not in spec.uids:
                self._denials.count_suppressed(spec.name, uid)
            busy = Unavailable("the enclave has too many open connections", fix="try again in a moment")
            _send_error_and_close(connection, busy, linger_seconds=0.0)

    def _serve_connection(
        self,
        slots: threading.BoundedSemaphore,
        handler: Callable[[SocketSpec, socket.socket, int], None],
        spec: SocketSpec,
        connection: socket.socket,
        uid: int,
    ) -> None:
        try:
            handler(spec, connection, uid)
        except OSError:
            # The peer is gone, so no error can be sent.
            connection.close()
        finally:
            slots.release()

    def _reject_connection(self, spec: SocketSpec, connection: socket.socket, uid: int) -> None:
        _send_error_and_close(
            connection, self._denials.record_denial(spec.name, uid), linger_seconds=self._linger_seconds
        )

    def _serve_requests(self, spec: SocketSpec, connection: socket.socket, uid: int) -> None:
        with connection:
            while self._handle_request(spec, connection, uid):
                pass

    def _handle_request(self, spec: SocketSpec, connection: socket.socket, uid: int) -> bool:
        try:
            request = protocol.receive_frame(connection, limit=protocol.REQUEST_LIMIT, timeout=self._idle_timeout)
        except Unavailable:
            return False
        except Refused as exc:
            _send_error_and_close(connection, exc, linger_seconds=self._linger_seconds)
            return False
        if request is None:
            return False
        try:
            stream = _open_payload(spec, request, connection)
        except Refused as unexpected:
            # The rows stand unread on the connection, so it cannot be used again.
            _send_error_and_close(connection, unexpected, linger_seconds=self._linger_seconds)
            return False
        trace = request.pop("trace", None)
        try:
            handler = _find_handler(spec, request, uid, stream)
            with self._step.continue_trace(trace if isinstance(trace, str) else None):
                value, payload = handler(request, _progress_sender(connection))
        except WellspringError as exc:
            protocol.send_frame(connection, protocol.encode_error(exc))
            return stream is None or not stream.remaining
        with payload or nullcontext():
            protocol.send_frame(connection, {"kind": "done", "value": value}, payload)
        return stream is None or not stream.remaining


class _DenialLog:
    """Records denied connections, at most one entry per second, socket and user."""

    def __init__(self, step: Recorder, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._last_recorded: dict[tuple[str, int], tuple[float, int]] = {}

    def record_denial(self, socket_name: str, uid: int) -> Refused:
        refused = Refused(
            f"user {uid} may not connect to the {socket_name} socket of the enclave",
            fix="only the services that use this socket may connect; other users call the API",
        )
        now = self._clock.now().timestamp()
        with self._lock:
            last, suppressed_count = self._last_recorded.get((socket_name, uid), (float("-inf"), 0))
            if abs(now - last) < 1.0:
                self._last_recorded[socket_name, uid] = (last, suppressed_count + 1)
                return refused
            self._last_recorded[socket_name, uid] = (now, 0)
        try:
            with self._step(
                "connect", f"server:{socket_name}", facts={"uid": uid, "suppressed_count": suppressed_count}
            ):
                raise refused
        except WellspringError as exc:
            return exc if isinstance(exc, Refused) else refused

    def count_suppressed(self, socket_name: str, uid: int) -> None:
        """Count a denied connection without an entry. The next entry of the user contains the number."""
        with self._lock:
            last, suppressed_count = self._last_recorded.get((socket_name, uid), (float("-inf"), 0))
            self._last_recorded[socket_name, uid] = (last, suppressed_count + 1)


def allowed_uids(project: Project) -> dict[str, frozenset[int]]:
    """Return the uids that may connect to each socket.

    If each service has its own user: to `intake` the worker, the owner of the project state and root; to `vault` the
    API, the callers in wellspring.toml and root, subject to the policies. Otherwise: only the user of this process.
    """
    own_uid, users = os.geteuid(), read_service_users(project)
    if own_uid != users.uid_of("enclave"):
        return {"intake": frozenset({own_uid}), "vault": frozenset({own_uid})}
    owner = project.state_dir.stat().st_uid
    # wellspring.toml cannot add the user of another service as a caller.
    callers = {caller.uid for caller in project.callers.values()} - RESERVED_UIDS
    return {
        "intake": frozenset({users.uid_of("worker"), owner, 0}),
        "vault": frozenset({users.uid_of("api"), *callers, 0}),
    }


def text_field(request: protocol.FrameMessage, name: str) -> str:
    """Return a text field of a request. Raises Refused if it is missing or not text."""
    value = request.get(name)
    if not isinstance(value, str):
        raise Refused(
            f"the request has no text field {name!r}", fix="use the protocol of wellspring.trust.vault.protocol"
        )
    return value


def _open_payload(
    spec: SocketSpec, request: protocol.FrameMessage, connection: socket.socket
) -> protocol.PayloadStream | None:
    """Open the rows that follow a request, if there are any. Raises Refused for an operation that takes none."""
    if "arrow_bytes" not in request:
        return None
    if request.get("op") not in spec.row_handlers:
        raise Refused("this operation does not take rows", fix="send the request without 'arrow_bytes'")
    return protocol.PayloadStream(connection, protocol.payload_length(request))


def _find_handler(
    spec: SocketSpec, request: protocol.FrameMessage, uid: int, stream: protocol.PayloadStream | None
) -> RequestHandler:
    name = text_field(request, "op")
    if name in spec.row_handlers:
        rows = None if stream is None else receive_request_rows(stream)
        return lambda message, progress: spec.row_handlers[name](message, progress, rows)
    if name in spec.uid_handlers:
        return lambda message, _: (spec.uid_handlers[name](message, uid), None)
    if name not in spec.handlers:
        handler_names = [*spec.handlers, *spec.uid_handlers, *spec.row_handlers]
        raise NotFound(
            f"the {spec.name} socket of the enclave does not have this operation", fix=suggest_name(name, handler_names)
        )
    return spec.handlers[name]


def _progress_sender(connection: socket.socket) -> ProgressCallback:
    """Send progress until the peer disconnects. A disconnect does not stop the running operation."""
    peer_gone = threading.Event()

    def send_progress(stage: str, done: int, total: int) -> None:
        if peer_gone.is_set():
            return
        try:
            protocol.send_frame(connection, {"kind": "progress", "stage": stage, "done": done, "total": total})
        except OSError:
            peer_gone.set()

    return send_progress


def _send_error_and_close(connection: socket.socket, error: WellspringError, *, linger_seconds: float) -> None:
    """Send an error and close the connection.

    linger_seconds: total seconds in which the peer may finish sending; 0 closes at once.
    """
    deadline = time.monotonic() + linger_seconds
    with connection:
        try:
            connection.settimeout(linger_seconds)
            protocol.send_frame(connection, protocol.encode_error(error))
            connection.shutdown(socket.SHUT_WR)
            # A peer whose connection closes while it sends may not read the error. One deadline covers all reads.
            unread = protocol.REQUEST_LIMIT
            while unread > 0 and (remaining := deadline - time.monotonic()) > 0:
                connection.settimeout(remaining)
                if not (chunk := connection.recv(4096)):
                    return
                unread -= len(chunk)
        except OSError:
            return

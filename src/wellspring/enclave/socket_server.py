"""The enclave's two doors: Unix sockets that ask the kernel who is on the other side before they hear a word."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project, suggest_name
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.runtime.privileges import SERVICE_UIDS
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback

RequestHandler = Callable[[protocol.FrameMessage, ProgressCallback], tuple[JsonValue, bytes | memoryview]]
"""Answers one request with a JSON value and an Arrow stream (or nothing)."""
UidHandler = Callable[[protocol.FrameMessage, int], JsonValue]
"""Answers one request by who asks: the uid of the process on the other side, as the kernel noted it."""

IDLE_TIMEOUT = 30.0
LINGER_SECONDS = 1.0
_MAX_CONNECTIONS = 16
_BACKLOG = 256
_UCRED_FORMAT = "3i"


class SocketSpec(NamedTuple):
    """One socket. uids: the only users who may speak here. operations: by the request's `op`.

    grants: more operations, by their `op`, that are told who asks.
    """

    name: str
    path: Path
    uids: frozenset[int]
    handlers: Mapping[str, RequestHandler]
    uid_handlers: Mapping[str, UidHandler] = MappingProxyType({})


class SocketServer:
    """Keeps doors open on threads of its own. patience: seconds that a peer may stay silent between two frames, and
    seconds that a whole frame may take. farewell: seconds that one who is turned away may still speak, in all.

    At each door each of its users has places of their own, so that none of them can keep another out. Whoever is not
    let in is told so, at places that all strangers of a door share, and the refusal is recorded: at most one entry a
    second for each door and user, with the number of those before it, so that nobody fills the ledger by knocking.
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
            listener = _bind_socket(spec.path)
            self._listeners.append(listener)
            thread = threading.Thread(
                target=self._accept_loop, args=(spec, listener), name=f"{spec.name} door", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Let nobody in any more; conversations under way end with the process."""
        for listener in self._listeners:
            # shutdown wakes the thread that waits in accept; close alone would not.
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
            # Nothing here may wait for anybody: this thread lets in all the others.
            if uid not in spec.uids:
                self._denials.count_unheard(spec.name, uid)
            busy = Unavailable("the enclave has too many conversations at once", fix="try again in a moment")
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
            # The peer is gone: there is nobody to tell.
            connection.close()
        finally:
            slots.release()

    def _reject_connection(self, spec: SocketSpec, connection: socket.socket, uid: int) -> None:
        _send_error_and_close(
            connection, self._denials.record_denial(spec.name, uid), linger_seconds=self._linger_seconds
        )

    def _serve_requests(self, spec: SocketSpec, connection: socket.socket, uid: int) -> None:
        with connection:
            while self._answer_request(spec, connection, uid):
                pass

    def _answer_request(self, spec: SocketSpec, connection: socket.socket, uid: int) -> bool:
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
            value, arrow = _find_handler(spec, request, uid)(request, _progress_sender(connection))
        except WellspringError as exc:
            protocol.send_frame(connection, protocol.encode_error(exc))
            return True
        protocol.send_frame(connection, {"kind": "done", "value": value, "arrow_bytes": len(arrow)}, arrow)
        return True


class _DenialLog:
    """Records who was not let in."""

    def __init__(self, step: Recorder, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._last_recorded: dict[tuple[str, int], tuple[float, int]] = {}

    def record_denial(self, socket_name: str, uid: int) -> Refused:
        refused = Refused(
            f"user {uid} may not speak at the enclave's {socket_name} door",
            fix="only the service that this door is for may; a person's grant comes through the API",
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

    def count_unheard(self, socket_name: str, uid: int) -> None:
        """Count one who was not even heard: the next entry of this user names the number."""
        with self._lock:
            last, suppressed_count = self._last_recorded.get((socket_name, uid), (float("-inf"), 0))
            self._last_recorded[socket_name, uid] = (last, suppressed_count + 1)


def allowed_uids(project: Project) -> dict[str, frozenset[int]]:
    """Say who may speak at each door. Where services have users of their own: at `intake` the worker, the owner of the
    project's state and root; at `vault` the API, the callers that wellspring.toml names, and root, and the policies say
    what each of them gets. Else everybody is one user, and only that one."""
    own_uid = os.geteuid()
    if own_uid != SERVICE_UIDS["enclave"]:
        return {"intake": frozenset({own_uid}), "vault": frozenset({own_uid})}
    owner = project.state_dir.stat().st_uid
    # A line of wellspring.toml makes no service of the house a caller.
    callers = {caller.uid for caller in project.callers.values()} - set(SERVICE_UIDS.values())
    return {
        "intake": frozenset({SERVICE_UIDS["worker"], owner, 0}),
        "vault": frozenset({SERVICE_UIDS["api"], *callers, 0}),
    }


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process that connected, as the kernel noted it at that moment."""
    size = struct.calcsize(_UCRED_FORMAT)
    _, uid, _ = struct.unpack(_UCRED_FORMAT, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def text_field(request: protocol.FrameMessage, name: str) -> str:
    """Return one field of a request. Raises Refused if it is no text."""
    value = request.get(name)
    if not isinstance(value, str):
        raise Refused(f"the request has no text {name!r}", fix="speak the frames of wellspring.trust.vault.protocol")
    return value


def _find_handler(spec: SocketSpec, request: protocol.FrameMessage, uid: int) -> RequestHandler:
    name = text_field(request, "op")
    if name in spec.uid_handlers:
        return lambda message, _: (spec.uid_handlers[name](message, uid), b"")
    if name not in spec.handlers:
        handler_names = [*spec.handlers, *spec.uid_handlers]
        raise NotFound(f"the enclave's {spec.name} door knows no such operation", fix=suggest_name(name, handler_names))
    return spec.handlers[name]


def _progress_sender(connection: socket.socket) -> ProgressCallback:
    """Tell progress while anybody listens: a peer that went away must not stop work that was begun."""
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
    """Say why, then let the peer finish what it was saying, for some seconds in all; 0: wait for nothing."""
    deadline = time.monotonic() + linger_seconds
    with connection:
        try:
            connection.settimeout(linger_seconds)
            protocol.send_frame(connection, protocol.encode_error(error))
            connection.shutdown(socket.SHUT_WR)
            # A peer that is cut off while it sends may never read why. All that it still sends shares one deadline.
            unread = protocol.REQUEST_LIMIT
            while unread > 0 and (remaining := deadline - time.monotonic()) > 0:
                connection.settimeout(remaining)
                if not (chunk := connection.recv(4096)):
                    return
                unread -= len(chunk)
        except OSError:
            return


def _bind_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Bound under another name: whoever sees the real one can already connect.
    temporary_path = path.with_name(f".{path.name}")
    temporary_path.unlink(missing_ok=True)
    listener.bind(str(temporary_path))
    # Open to all on purpose: the kernel's word on who is asking decides, and a refusal can be recorded.
    os.chmod(temporary_path, 0o666)  # noqa: S103
    listener.listen(_BACKLOG)
    os.rename(temporary_path, path)
    return listener

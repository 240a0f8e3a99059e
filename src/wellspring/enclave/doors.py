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
from wellspring.project import Project, nearest
from wellspring.records.clock import Clock
from wellspring.records.observe import Step
from wellspring.servers.privileges import UIDS
from wellspring.trust.vault import frames
from wellspring.trust.vault.port import Progress

Operation = Callable[[frames.Message, Progress], tuple[JsonValue, bytes | memoryview]]
"""Answers one request with a JSON value and an Arrow stream (or nothing)."""
Grant = Callable[[frames.Message, int], JsonValue]
"""Answers one request by who asks: the uid of the process on the other side, as the kernel noted it."""

PATIENCE = 30.0
FAREWELL = 1.0
_AT_ONCE = 16
_QUEUE = 256
_CREDENTIALS = "3i"


class Door(NamedTuple):
    """One socket. uids: the only users who may speak here. operations: by the request's `op`.

    grants: more operations, by their `op`, that are told who asks.
    """

    name: str
    path: Path
    uids: frozenset[int]
    operations: Mapping[str, Operation]
    grants: Mapping[str, Grant] = MappingProxyType({})


class Doors:
    """Keeps doors open on threads of its own. patience: seconds that a peer may stay silent between two frames, and
    seconds that a whole frame may take. farewell: seconds that one who is turned away may still speak, in all.

    At each door each of its users has places of their own, so that none of them can keep another out. Whoever is not
    let in is told so, at places that all strangers of a door share, and the refusal is recorded: at most one entry a
    second for each door and user, with the number of those before it, so that nobody fills the ledger by knocking.
    """

    def __init__(
        self,
        doors: tuple[Door, ...],
        *,
        step: Step,
        clock: Clock,
        patience: float = PATIENCE,
        farewell: float = FAREWELL,
    ) -> None:
        self._step = step
        self._clock = clock
        self._patience = patience
        self._farewell = farewell
        self._refusals = _Refusals(step, clock)
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        for door in doors:
            listener = _listen(door.path)
            self._listeners.append(listener)
            thread = threading.Thread(target=self._watch, args=(door, listener), name=f"{door.name} door", daemon=True)
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

    def _watch(self, door: Door, listener: socket.socket) -> None:
        inside = {uid: threading.BoundedSemaphore(_AT_ONCE) for uid in door.uids}
        outside = threading.BoundedSemaphore(_AT_ONCE)
        while True:
            try:
                connection, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                return
            connection.settimeout(self._patience)
            uid = peer(connection)
            places = inside.get(uid, outside)
            if places.acquire(blocking=False):
                act = self._converse if uid in door.uids else self._turn_away
                threading.Thread(target=self._seated, args=(places, act, door, connection, uid), daemon=True).start()
                continue
            # Nothing here may wait for anybody: this thread lets in all the others.
            if uid not in door.uids:
                self._refusals.pass_over(door.name, uid)
            busy = Unavailable("the enclave has too many conversations at once", fix="try again in a moment")
            _say_and_close(connection, busy, farewell=0.0)

    def _seated(
        self,
        places: threading.BoundedSemaphore,
        act: Callable[[Door, socket.socket, int], None],
        door: Door,
        connection: socket.socket,
        uid: int,
    ) -> None:
        try:
            act(door, connection, uid)
        except OSError:
            # The peer is gone: there is nobody to tell.
            connection.close()
        finally:
            places.release()

    def _turn_away(self, door: Door, connection: socket.socket, uid: int) -> None:
        _say_and_close(connection, self._refusals.record(door.name, uid), farewell=self._farewell)

    def _converse(self, door: Door, connection: socket.socket, uid: int) -> None:
        with connection:
            while self._answer_one(door, connection, uid):
                pass

    def _answer_one(self, door: Door, connection: socket.socket, uid: int) -> bool:
        try:
            request = frames.receive(connection, limit=frames.REQUEST_LIMIT, within=self._patience)
        except Unavailable:
            return False
        except Refused as wrong:
            _say_and_close(connection, wrong, farewell=self._farewell)
            return False
        if request is None:
            return False
        try:
            value, arrow = _operation(door, request, uid)(request, _teller(connection))
        except WellspringError as wrong:
            frames.send(connection, frames.error_out(wrong))
            return True
        frames.send(connection, {"kind": "done", "value": value, "arrow": len(arrow)}, arrow)
        return True


class _Refusals:
    """Records who was not let in."""

    def __init__(self, step: Step, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._turn = threading.Lock()
        self._last: dict[tuple[str, int], tuple[float, int]] = {}

    def record(self, door: str, uid: int) -> Refused:
        refused = Refused(
            f"user {uid} may not speak at the enclave's {door} door",
            fix="only the service that this door is for may; a person's grant comes through the API",
        )
        now = self._clock.now().timestamp()
        with self._turn:
            last, silent = self._last.get((door, uid), (float("-inf"), 0))
            if abs(now - last) < 1.0:
                self._last[door, uid] = (last, silent + 1)
                return refused
            self._last[door, uid] = (now, 0)
        try:
            with self._step("connect", f"server:{door}", facts={"uid": uid, "before": silent}):
                raise refused
        except WellspringError as wrong:
            return wrong if isinstance(wrong, Refused) else refused

    def pass_over(self, door: str, uid: int) -> None:
        """Count one who was not even heard: the next entry of this user names the number."""
        with self._turn:
            last, silent = self._last.get((door, uid), (float("-inf"), 0))
            self._last[door, uid] = (last, silent + 1)


def allowed(project: Project) -> dict[str, frozenset[int]]:
    """Say who may speak at each door. Where services have users of their own: at `intake` the worker, the owner of the
    project's state and root; at `vault` the API, the callers that wellspring.toml names, and root, and the policies say
    what each of them gets. Else everybody is one user, and only that one."""
    me = os.geteuid()
    if me != UIDS["enclave"]:
        return {"intake": frozenset({me}), "vault": frozenset({me})}
    owner = project.state.stat().st_uid
    # A line of wellspring.toml makes no service of the house a caller.
    callers = {caller.uid for caller in project.callers.values()} - set(UIDS.values())
    return {"intake": frozenset({UIDS["worker"], owner, 0}), "vault": frozenset({UIDS["api"], *callers, 0})}


def peer(connection: socket.socket) -> int:
    """Return the user id of the process that connected, as the kernel noted it at that moment."""
    size = struct.calcsize(_CREDENTIALS)
    _, uid, _ = struct.unpack(_CREDENTIALS, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def text(request: frames.Message, name: str) -> str:
    """Return one field of a request. Raises Refused if it is no text."""
    value = request.get(name)
    if not isinstance(value, str):
        raise Refused(f"the request has no text {name!r}", fix="speak the frames of wellspring.trust.vault.frames")
    return value


def _operation(door: Door, request: frames.Message, uid: int) -> Operation:
    name = text(request, "op")
    if name in door.grants:
        return lambda asked, _: (door.grants[name](asked, uid), b"")
    if name not in door.operations:
        known = [*door.operations, *door.grants]
        raise NotFound(f"the enclave's {door.name} door knows no such operation", fix=nearest(name, known))
    return door.operations[name]


def _teller(connection: socket.socket) -> Progress:
    """Tell progress while anybody listens: a peer that went away must not stop work that was begun."""
    gone = threading.Event()

    def tell(stage: str, done: int, total: int) -> None:
        if gone.is_set():
            return
        try:
            frames.send(connection, {"kind": "progress", "stage": stage, "done": done, "total": total})
        except OSError:
            gone.set()

    return tell


def _say_and_close(connection: socket.socket, wrong: WellspringError, *, farewell: float) -> None:
    """Say why, then let the peer finish what it was saying, for some seconds in all; 0: wait for nothing."""
    until = time.monotonic() + farewell
    with connection:
        try:
            connection.settimeout(farewell)
            frames.send(connection, frames.error_out(wrong))
            connection.shutdown(socket.SHUT_WR)
            # A peer that is cut off while it sends may never read why. All that it still sends shares one deadline.
            unread = frames.REQUEST_LIMIT
            while unread > 0 and (left := until - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (piece := connection.recv(4096)):
                    return
                unread -= len(piece)
        except OSError:
            return


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Bound under another name: whoever sees the real one can already connect.
    beside = path.with_name(f".{path.name}")
    beside.unlink(missing_ok=True)
    listener.bind(str(beside))
    # Open to all on purpose: the kernel's word on who is asking decides, and a refusal can be recorded.
    os.chmod(beside, 0o666)  # noqa: S103
    listener.listen(_QUEUE)
    os.rename(beside, path)
    return listener

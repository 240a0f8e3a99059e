"""A process that forks a child for each request of its channels, kills what a child started, and reports its end.

A channel is a socket of sequenced packets. `{"start": ID, ...}` starts a child, which gets the descriptors that come
with the message; the answers are `{"started": ID, "pid": N}` and, later, `{"ended": ID, "status": N}`.
`{"kill": ID}` kills a child. What a child started is killed with it, even in a session of its own. When a channel
closes, its children are killed. A server has one channel, and ends with it; or it listens, and each connection is a
channel, which begins with `{"ready": true}` from the server and may begin with `{"open": ...}` from the client. The
process starts no thread, because a fork copies only the thread that forks.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

MAX_MESSAGE_BYTES = 4096
MAX_DESCRIPTORS = 4
FIRST_DESCRIPTOR = 3
"""The number of the first descriptor that a child gets; the others follow. 0, 1 and 2 are /dev/null."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(eq=False)
class Channel:
    """One channel. opening: its first message, if that has `open`. children: the ids of its children by pid."""

    socket: socket.socket
    opening: dict[str, Any] = field(default_factory=dict[str, Any])
    children: dict[int, str] = field(default_factory=dict[int, str])

    def send(self, message: dict[str, object]) -> None:
        """Send a message, unless the other end is gone."""
        with suppress(OSError):
            self.socket.send(json.dumps(message).encode())


class ChildStart:
    """What a child is started with. message: of the request. opening: of its channel. descriptors: their number."""

    def __init__(self, message: dict[str, Any], opening: dict[str, Any], descriptors: int) -> None:
        self.message = message
        self.opening = opening
        self.descriptors = tuple(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + descriptors))


class ForkServer:
    """Serves channels in the thread that calls it.

    source: its one channel, or a listening socket. run_child: runs in the child, and returns its exit status. prepare:
    runs in the server before a fork. permits: whether a connection may be a channel.
    """

    def __init__(
        self,
        source: socket.socket,
        run_child: Callable[[ChildStart], int],
        *,
        prepare: Callable[[dict[str, Any]], None] = lambda message: None,
        permits: Callable[[socket.socket], bool] = lambda connection: True,
    ) -> None:
        listens = bool(source.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        self._listener = source if listens else None
        self._channels = [] if listens else [Channel(source)]
        # Their channels are closed; their ends are still awaited.
        self._orphans: list[int] = []
        self._run_child = run_child
        self._prepare = prepare
        self._permits = permits

    def serve_requests(self) -> None:
        """Serve until the one channel closes, then kill the children; a listening server serves until a signal."""
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        # What a child leaves behind becomes a child of this process.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        waited = [wake_reader, *([self._listener] if self._listener is not None else [])]
        while self._channels or self._listener is not None:
            readable, _, _ = select.select([*(channel.socket for channel in self._channels), *waited], [], [])
            if wake_reader in readable:
                with suppress(BlockingIOError):
                    os.read(wake_reader, 4096)
            self._report_ended()
            for channel in [channel for channel in self._channels if channel.socket in readable]:
                if not self._handle_message(channel):
                    self._close_channel(channel)
            if self._listener is not None and self._listener in readable:
                self._accept_channel(self._listener)
        _kill_groups(self._orphans)

    def _accept_channel(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        try:
            connection, _ = listener.accept()
        except OSError:
            # The client is gone.
            return
        connection.setblocking(True)
        if not self._permits(connection):
            connection.close()
            return
        channel = Channel(connection)
        self._channels.append(channel)
        channel.send({"ready": True})

    def _handle_message(self, channel: Channel) -> bool:
        try:
            content, descriptors, _, _ = socket.recv_fds(channel.socket, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
        except OSError:
            return False
        if not content:
            return False
        try:
            message: dict[str, Any] = json.loads(content)
            if "start" in message:
                self._start_child(channel, message, descriptors)
            elif "kill" in message:
                _kill_groups([pid for pid, name in channel.children.items() if name == message["kill"]])
            elif "open" in message and not channel.opening:
                channel.opening = message
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start_child(self, channel: Channel, message: dict[str, Any], descriptors: Sequence[int]) -> None:
        self._prepare(message)
        server_pid, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become_child(server_pid, message, channel.opening, descriptors)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        channel.children[pid] = str(message["start"])
        channel.send({"started": message["start"], "pid": pid})

    def _become_child(
        self, server_pid: int, message: dict[str, Any], opening: dict[str, Any], descriptors: Sequence[int]
    ) -> NoReturn:
        status = 1
        try:
            die_with_parent()
            if os.getppid() == server_pid:
                os.setpgid(0, 0)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _keep_descriptors(descriptors)
                status = self._run_child(ChildStart(message, opening, len(descriptors)))
        finally:
            # Without the exit handlers of the server, whose copies this process has.
            os._exit(status)

    def _report_ended(self) -> None:
        for channel in self._channels:
            for pid in list(channel.children):
                if (status := _wait_ended(pid)) is not None:
                    channel.send({"ended": channel.children.pop(pid), "status": status})
        self._orphans = [pid for pid in self._orphans if _wait_ended(pid) is None]
        expected = {*self._orphans, *(pid for channel in self._channels for pid in channel.children)}
        for pid in _list_children() - expected:
            os.kill(pid, signal.SIGKILL)
            self._orphans.append(pid)

    def _close_channel(self, channel: Channel) -> None:
        _kill_groups(channel.children)
        self._orphans += channel.children
        self._channels.remove(channel)
        channel.socket.close()


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def name_process(name: str) -> None:
    """Set the name that `ps` shows for this process. name: of at most 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _wait_ended(pid: int) -> int | None:
    """Return the exit code of a child, negative for a signal; None while it runs. What it started ends with it."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    # Before the wait, while the pid cannot be reused.
    _kill_groups([pid])
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _list_children() -> set[int]:
    """List the children of this process; none on a kernel that does not tell them."""
    try:
        return set(map(int, Path("/proc/thread-self/children").read_text(encoding="ascii").split()))
    except FileNotFoundError:
        return set()


def _kill_groups(pids: Sequence[int] | dict[int, str]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _keep_descriptors(descriptors: Sequence[int]) -> None:
    """Close every descriptor but these, which become 3, 4 and so on, and the standard ones, which become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    # Above all that are needed, so that none is overwritten before it is moved.
    free = max((FIRST_DESCRIPTOR + len(descriptors), null, *descriptors)) + 1
    for offset, descriptor in enumerate(descriptors):
        os.dup2(descriptor, free + offset)
    os.closerange(FIRST_DESCRIPTOR, free)
    for offset in range(len(descriptors)):
        os.dup2(free + offset, FIRST_DESCRIPTOR + offset, inheritable=False)
    os.closerange(FIRST_DESCRIPTOR + len(descriptors), os.sysconf("SC_OPEN_MAX"))

"""The worker's side of the warm server: starts it, asks it for children, and waits for their ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from wellspring.errors import Unavailable

START_TIMEOUT = 60.0
_FORK_TIMEOUT = 30.0

ChildRole = Literal["job", "query"]


class WarmChild:
    """A child that the warm server forked. status: of its end, negative for a signal; None without one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.status: int | None = None
        self.is_lost = False
        self._started = threading.Event()
        self._ended = threading.Event()

    def mark_started(self, pid: int) -> None:
        """Note the pid."""
        self.pid = pid
        self._started.set()

    def mark_ended(self, status: int | None) -> None:
        """Note the end. status: None if the warm server ended first, which kills its children."""
        self.status, self.is_lost = status, status is None
        self._started.set()
        self._ended.set()

    def wait_started(self) -> None:
        """Wait until the process exists. Raises Unavailable."""
        if not self._started.wait(_FORK_TIMEOUT) or self.is_lost:
            raise Unavailable("the warm server of the worker did not start the process", fix="try again")

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Wait for the end. timeout: seconds. Returns False on timeout."""
        return self._ended.wait(timeout)

    def has_ended(self) -> bool:
        """Return whether its end was reported."""
        return self._ended.is_set()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the child and to the processes that it started."""
        if self.pid and not self._ended.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class WarmClient:
    """One warm server. Create it in the main thread: the kernel kills it when the thread that started it ends.

    on_end: called, in another thread, when the server has ended.
    """

    def __init__(
        self, project_root: Path, environment: dict[str, str], *, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._channel, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "wellspring.worker.warm_server"]
        with remote:
            self._process = subprocess.Popen(
                [*command, "--project", str(project_root), "--channel", str(remote.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(remote.fileno(),),
                env=environment,
                cwd="/",
            )
        self._on_end = on_end
        self._lock = threading.Lock()
        self._children: dict[str, WarmChild] = {}
        self._ready = threading.Event()
        self._alive = True
        self._thread = threading.Thread(target=self._read_messages, name="warm server", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether it can start children."""
        return self._alive

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until its modules are imported. Raises Unavailable."""
        if not self._ready.wait(timeout) or not self._alive:
            raise Unavailable("the warm server of the worker did not start", fix="read .wellspring/logs/worker.log")

    def start_child(self, name: str, role: ChildRole, descriptors: Sequence[int]) -> WarmChild:
        """Start a child that gets copies of the descriptors. name: of no other child that runs. Raises Unavailable."""
        self.wait_ready()
        child = WarmChild(name)
        with self._lock:
            self._children[name] = child
        message = json.dumps({"start": name, "role": role}).encode()
        try:
            socket.send_fds(self._channel, [message], list(descriptors))
        except OSError:
            child.mark_ended(None)
        child.wait_started()
        return child

    def close(self) -> None:
        """Close the channel: the server kills its children and ends."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._channel.close()

    def _read_messages(self) -> None:
        while True:
            try:
                content = self._channel.recv(4096)
            except OSError:
                content = b""
            if not content:
                break
            self._handle_message(json.loads(content))
        self._alive = False
        self._ready.set()
        with self._lock:
            lost, self._children = list(self._children.values()), {}
        for child in lost:
            child.mark_ended(None)
        self._on_end()

    def _handle_message(self, message: dict[str, Any]) -> None:
        match message:
            case {"ready": True}:
                self._ready.set()
            case {"started": str(name), "pid": int(pid)}:
                with self._lock:
                    self._children[name].mark_started(pid)
            case {"ended": str(name), "status": int(status)}:
                with self._lock:
                    child = self._children.pop(name)
                child.mark_ended(status)
            case _:
                return

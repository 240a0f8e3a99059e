"""One child of the supervisor: how it is started, when it is ready, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wellspring.errors import Unavailable
from wellspring.project import Server

TAIL = 20
_PAUSE = 0.02


@dataclass
class Child:
    """A server to run. service: whose uid it has. ready: the probe. ending: the signal that ends it gracefully.

    role: that of the credential which it reads on its standard input; '' for none. before, after: what is done each
    time before it is started, and when it is ready.
    """

    name: str
    service: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    version: str
    log: Path
    socket: Path | None = None
    port: int | None = None
    ending: signal.Signals = signal.SIGTERM
    keep: Sequence[int] = ()
    role: Literal["", "enclave", "api"] = ""
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    process: subprocess.Popen[bytes] | None = None
    offset: int = field(default=0)

    def start(self, command: Sequence[str], environment: dict[str, str], given: bytes | None = None) -> None:
        """Start it, its output appended to its log. given: what it reads on its standard input, then end of file."""
        with self.log.open("ab") as log:
            self.offset = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                pass_fds=self.keep,
            )
        if given is not None and self.process.stdin is not None:
            try:
                self.process.stdin.write(given)
                self.process.stdin.close()
            except BrokenPipeError:
                # It died before it read: `wait_ready` tells.
                pass

    def wait_ready(self, deadline: float, *, probe: Callable[[], bool] | None = None) -> None:
        """Wait for its probe, until a deadline of the monotonic clock. Raises Unavailable with its last log lines."""
        process = self._started()
        pause, ready = threading.Event(), probe or self.ready
        while not ready():
            if process.poll() is not None:
                raise self.failed(f"ended with exit code {process.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self.failed("was not ready in time")
            pause.wait(_PAUSE)

    def failed(self, how: str) -> Unavailable:
        """Return the error to raise: what happened, and the last lines that it wrote since it was started."""
        lines = self.tail()
        said = "\n".join(f"  {line}" for line in lines) if lines else "  (it wrote nothing)"
        what = f"{self.name} {how}; its last lines in {self.log}:\n{said}"
        return Unavailable(what, fix="mend it, then run `wellspring up`")

    def tail(self) -> list[str]:
        """Return the last lines that it wrote since it was started."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self.offset, size - 64 * 1024))
                return log.read().decode(errors="replace").splitlines()[-TAIL:]
        except FileNotFoundError:
            return []

    def is_alive(self) -> bool:
        """Say whether its process still runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds: float = 10.0) -> None:
        """End it gracefully, then by force."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.ending)
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def described(self) -> Server:
        """Describe it for run.json."""
        process = self._started()
        return Server(
            pid=process.pid,
            start=started(process.pid) or 0,
            version=self.version,
            socket=str(self.socket) if self.socket else None,
            port=self.port,
        )

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise Unavailable(f"{self.name} was not started", fix="run `wellspring up`")
        return self.process


def started(pid: int) -> int | None:
    """Return the kernel's start time of a living process (clock ticks since boot); None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def owner(pid: int) -> int | None:
    """Return the user that a process runs as: what it may do, and not who may debug it, as /proc's owners say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), None)


def lives(server: Server) -> bool:
    """Say whether this very process still runs: a pid that was given to another process does not count."""
    return started(server.pid) == server.start


def wait_gone(server: Server, seconds: float) -> bool:
    """Wait until a process that need not be our child has ended."""
    if not lives(server):
        return True
    try:
        handle = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0]) or not lives(server)
    finally:
        os.close(handle)

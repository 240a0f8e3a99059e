"""One child process of the supervisor: starts it, waits until it is ready, and stops it."""

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
from wellspring.records.record import Digest
from wellspring.runtime.privileges import FileRules
from wellspring.runtime.process_identity import is_same_process, process_start_time
from wellspring.runtime.run_state import ServerState
from wellspring.runtime.trusted_folder import open_appending
from wellspring.runtime.unix_socket import ServerSocket

TAIL_LINES = 20
_POLL_SECONDS = 0.02


@dataclass
class ManagedProcess:
    """A server process.

    service: the service whose uid it runs as. stop_signal: the signal that stops it gracefully. role: the role of the
    credential that it reads from standard input; '' for none. needs: names of servers that must be up before it starts.
    files: what a program that is not ours may open. before_start, after_ready: called at every start.
    log_offset: size of the log in bytes before this start. settings: of wellspring.toml, as it reads them.
    """

    name: str
    service: str
    argv: Sequence[str]
    readiness_probe: Callable[[], bool]
    version: str
    log_path: Path
    socket: ServerSocket | None = None
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    inherited_fds: Sequence[int] = ()
    role: Literal["", "enclave", "api", "sequencer", "dispatcher"] = ""
    needs: Sequence[str] = ()
    files: FileRules | None = None
    before_start: Callable[[], None] | None = None
    after_ready: Callable[[], None] | None = None
    process: subprocess.Popen[bytes] | None = None
    log_offset: int = field(default=0)
    settings: dict[str, Digest] = field(default_factory=dict[str, Digest])

    def start(self, command: Sequence[str], environment: dict[str, str], stdin_data: bytes | None = None) -> None:
        """Start the process and append its output to the log. stdin_data: its whole standard input."""
        with open_appending(self.log_path) as log:
            self.log_offset = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin_data is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                pass_fds=self.inherited_fds,
                umask=0o027,
            )
        if stdin_data is not None and self.process.stdin is not None:
            try:
                self.process.stdin.write(stdin_data)
                self.process.stdin.close()
            except BrokenPipeError:
                # The process exited before it read its input; `wait_ready` reports that.
                pass

    def wait_ready(self, deadline: float, *, probe: Callable[[], bool] | None = None) -> None:
        """Wait until the probe succeeds. deadline: monotonic clock. Raises Unavailable with the last log lines."""
        process = self._require_process()
        pause, ready = threading.Event(), probe or self.readiness_probe
        while not ready():
            if process.poll() is not None:
                raise self.failure_error(f"exited with code {process.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self.failure_error("was not ready in time")
            pause.wait(_POLL_SECONDS)

    @property
    def pid(self) -> int:
        """The pid of the process. Raises Unavailable before its first start."""
        return self._require_process().pid

    def own_socket(self) -> ServerSocket:
        """Return the socket as this process must serve it, for a probe: no other process counts as ready."""
        if self.socket is None:
            raise Unavailable(f"{self.name} has no socket", fix="probe its port")
        return self.socket._replace(pid=self.pid)

    def failure_error(self, event: str) -> Unavailable:
        """Return the error for an event; its text has the log lines since the last start."""
        lines = self.tail_log()
        excerpt = "\n".join(f"  {line}" for line in lines) if lines else "  (no output)"
        message = f"{self.name} {event}; last lines of {self.log_path}:\n{excerpt}"
        return Unavailable(message, fix="fix the reported error, then run `wellspring up`")

    def tail_log(self) -> list[str]:
        """Return the last log lines since the last start."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self.log_offset, size - 64 * 1024))
                return log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        except FileNotFoundError:
            return []

    def is_alive(self) -> bool:
        """Return True if the process runs."""
        return self.process is not None and self.process.poll() is None

    def describe_exit(self) -> str:
        """Return how the process ended, for a message: by a signal, or with an exit code."""
        code = self._require_process().poll()
        if code is not None and code < 0:
            return f"was ended by signal {-code}"
        return f"exited with code {code}"

    def kill(self) -> None:
        """Kill the process at once; it may hang."""
        process = self._require_process()
        process.kill()
        process.wait()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the process gracefully; kill it after the timeout in seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def to_server_state(self) -> ServerState:
        """Return the entry of the process in run.json."""
        process = self._require_process()
        return ServerState(
            pid=process.pid,
            start_ticks=process_start_time(process.pid) or 0,
            version=self.version,
            socket=str(self.socket.path) if self.socket else None,
            port=self.port,
            settings=self.settings,
        )

    def _require_process(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise Unavailable(f"{self.name} has not been started", fix="run `wellspring up`")
        return self.process


def process_uid(pid: int) -> int | None:
    """Return the real uid of a process, None if it is gone. The owner of /proc/PID differs for undumpable processes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), None)


def wait_for_exit(server: ServerState, timeout: float) -> bool:
    """Wait until a process has exited; it need not be a child. timeout: seconds. Returns False on timeout."""
    if not is_same_process(server):
        return True
    try:
        handle = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout)[0]) or not is_same_process(server)
    finally:
        os.close(handle)

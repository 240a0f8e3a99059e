"""The warm server: has imported what jobs need, holds no credential, and forks one child for each job.

Started by the worker as `python -m wellspring.worker.warm_server --project P --channel FD`. It starts no thread, as a
fork copies only the thread that forks; those of NumPy and jemalloc are prepared for a fork. A message of the channel
starts a child, which gets the two descriptors that come with it: where to read its job and where to write its events.
The server answers with the pid, and with the status when the child has ended, after it has killed every process of the
child's group.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from wellspring.runtime.process import build_argument_parser
from wellspring.worker import job_process

WARM_MODULES = (
    "wellspring.bootstrap",
    "wellspring.data.formats.csv",
    "wellspring.lake.registry",
    "wellspring.observe.lineage",
    "wellspring.observe.metrics",
    "wellspring.observe.recorder",
    "wellspring.stores.locks.file",
    "wellspring.worker.handlers",
    "wellspring.worker.job_policy",
    "wellspring.lake.iceberg.catalog",
    "wellspring.lake.iceberg.sqlite",
    "wellspring.query.duckdb.engine",
    "wellspring.query.duckdb.connection",
    "wellspring.trust.ledger.remote_sequencer",
    "wellspring.trust.keys.openbao",
    "wellspring.trust.secrets.openbao",
    "wellspring.trust.vault.remote",
    "cedarpy",
    "duckdb",
    "hvac",
    "numpy",
    "open_data_contract_standard.model",
    "prometheus_client.parser",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "pyiceberg.table",
    "requests",
    "sqlalchemy",
)
"""What most jobs import. A module that is not installed is left out: the job that needs it says so.

Not polars: its import starts threads, and a fork copies only the thread that forks.
"""
_PR_SET_PDEATHSIG = 1


class WarmServer:
    """Forks a child for each message, and reports its end."""

    def __init__(self, channel: socket.socket, project_root: Path) -> None:
        self._channel = channel
        self._project_root = project_root
        self._children: dict[int, str] = {}

    def serve_requests(self) -> None:
        """Serve until the worker closes the channel; then kill the children."""
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        while True:
            readable, _, _ = select.select([self._channel, wake_reader], [], [])
            if wake_reader in readable:
                with suppress(BlockingIOError):
                    os.read(wake_reader, 4096)
            self._report_ended()
            if self._channel in readable and not self._handle_message():
                break
        for pid in self._children:
            _kill_group(pid)

    def _handle_message(self) -> bool:
        content, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 2)
        if not content:
            return False
        job_id = str(json.loads(content)["job"])
        request_fd, events_fd = descriptors
        server_pid, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become_child(server_pid, request_fd, events_fd)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        os.close(request_fd)
        os.close(events_fd)
        self._children[pid] = job_id
        self._send({"started": job_id, "pid": pid})
        return True

    def _become_child(self, server_pid: int, request_fd: int, events_fd: int) -> NoReturn:
        status = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == server_pid:
                os.setpgid(0, 0)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                request_fd, events_fd = _keep_descriptors(request_fd, events_fd)
                status = job_process.run_job_process(self._project_root, request_fd, events_fd)
        finally:
            # Without the exit handlers of the server, whose copies this process has.
            os._exit(status)

    def _report_ended(self) -> None:
        for pid, job_id in list(self._children.items()):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                continue
            # Before the wait, while the pid cannot be reused: what the job started ends with it.
            _kill_group(pid)
            _, status = os.waitpid(pid, 0)
            del self._children[pid]
            self._send({"ended": job_id, "status": os.waitstatus_to_exitcode(status)})

    def _send(self, message: dict[str, object]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(json.dumps(message).encode())


def _keep_descriptors(request_fd: int, events_fd: int) -> tuple[int, int]:
    """Close every descriptor but these two, which become 3 and 4, and the standard ones, which become /dev/null."""
    high_request, high_events = os.dup(request_fd), os.dup(events_fd)
    first_free = max(high_request, high_events) + 1
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(high_request, first_free)
    os.dup2(high_events, first_free + 1)
    os.closerange(3, first_free)
    os.dup2(first_free, 3, inheritable=False)
    os.dup2(first_free + 1, 4, inheritable=False)
    os.closerange(5, os.sysconf("SC_OPEN_MAX"))
    return 3, 4


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def import_warm_modules() -> None:
    """Import what jobs need, so that their children do not."""
    for name in WARM_MODULES:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    # The garbage collector of a child does not touch, and so does not copy, what the server has.
    gc.collect()
    gc.freeze()


def main(argv: list[str] | None = None) -> int:
    """Run the warm server until its channel closes."""
    parser = build_argument_parser("wellspring.worker.warm_server")
    parser.add_argument("--channel", type=int, required=True)
    arguments = parser.parse_args(argv)
    channel = socket.socket(fileno=arguments.channel)
    channel.set_inheritable(False)
    # When the worker ends, its channel closes as well.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The worker, not a terminal, ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_warm_modules()
    channel.send(b'{"ready": true}')
    WarmServer(channel, arguments.project).serve_requests()
    return 0


if __name__ == "__main__":
    sys.exit(main())

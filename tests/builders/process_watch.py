"""Peak memory and CPU time of the enclave and of the worker while a command runs."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Generator
from pathlib import Path

import psutil

from wellspring.project import Project

_INTERVAL = 0.05


class ProcessWatch:
    """What was seen. The peaks are VmHWM, in bytes; the worker's is the last one that was read before it ended.

    The CPU time of the worker is that of the jobs that have ended.
    """

    def __init__(self, project: Project) -> None:
        running = json.loads((project.state_dir / "run.json").read_bytes())
        self._enclave = psutil.Process(running["servers"]["enclave"]["pid"])
        (self._warm_server,) = psutil.Process(running["servers"]["worker"]["pid"]).children()
        self._start = time.perf_counter()
        self._cpu_start = _cpu_seconds(self._enclave)
        self._jobs_cpu_start = _ended_children_cpu(self._warm_server)
        self.enclave_peak = self.worker_peak = 0
        self.enclave_cpu = self.worker_cpu = self.seconds = 0.0

    def observe(self) -> None:
        """Read the figures once."""
        self.enclave_peak = max(self.enclave_peak, read_peak_memory(self._enclave.pid))
        self.enclave_cpu = _cpu_seconds(self._enclave) - self._cpu_start
        self.worker_cpu = _ended_children_cpu(self._warm_server) - self._jobs_cpu_start
        self.seconds = time.perf_counter() - self._start
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            for child in list_jobs(self._warm_server):
                self.worker_peak = max(self.worker_peak, read_peak_memory(child.pid))

    def describe(self, rows: int) -> str:
        """Describe the figures in a line."""
        millions = rows / 1e6
        return (
            f"{rows:,} rows: {self.seconds:.1f} s ({self.seconds / millions:.1f} s a million); CPU a million: enclave "
            f"{self.enclave_cpu / millions:.1f} s, worker {self.worker_cpu / millions:.1f} s; peak: enclave "
            f"{self.enclave_peak / 1e6:.0f} MB, worker {self.worker_peak / 1e6:.0f} MB"
        )


@contextlib.contextmanager
def watch_processes(project: Project) -> Generator[ProcessWatch]:
    """Observe the processes of a project until the block ends."""
    watch, ended = ProcessWatch(project), threading.Event()

    def observe() -> None:
        while not ended.wait(_INTERVAL):
            watch.observe()

    thread = threading.Thread(target=observe, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
        watch.observe()


def list_jobs(warm_server: psutil.Process) -> list[psutil.Process]:
    """List the processes of jobs: the children of the warm server that have this name."""
    return [child for child in warm_server.children() if child.name() == "job"]


def read_peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process since its start, in bytes; 0 when it has none left."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


def _ended_children_cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.children_user + times.children_system


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system

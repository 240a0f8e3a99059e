"""A supervisor that is killed in any phase of `up` or `down`: the next `up` works, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from tests.builders import projects
from wellspring.embedded.control_socket import send_request
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.supervisor import client
from wellspring.supervisor.managed_process import is_same_process

pytestmark = [pytest.mark.live, pytest.mark.slow]
UP = """
import sys
from pathlib import Path
from wellspring.project import load_project
from wellspring.supervisor.client import start_servers
start_servers(load_project(Path(sys.argv[1])), progress=lambda line: print(line, flush=True))
"""
STOPPED_FIRST = ("enclave", "sequencer", "witness", "sftp", "postgres", "openbao")


def list_processes(project: Project) -> list[psutil.Process]:
    """List the running processes that name a folder of the project."""
    matches: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        names_project = str(project.root) in line or str(project.runtime_dir) in line
        if names_project and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            matches.append(process)
    return matches


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True


def find_supervisor(project: Project) -> psutil.Process | None:
    """Return the supervisor's process itself; the process that forks it is gone at once."""
    matches = [process for process in list_processes(project) if "wellspring.supervisor.client" in process.cmdline()]
    return matches[0] if len(matches) == 1 and matches[0].ppid() == 1 else None


def kill_during_start(project: Project, phase: str) -> None:
    """Kill the supervisor when `up` reports a phase; an empty phase: as soon as it runs."""
    with subprocess.Popen(
        [sys.executable, "-c", UP, str(project.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        if phase:
            assert any(phase in line for line in iter(starter.stdout.readline, ""))
        assert wait_until(lambda: find_supervisor(project) is not None)
        supervisor = find_supervisor(project)
        assert supervisor is not None
        supervisor.kill()
        # It reports that the supervisor exited; after the last phase it may have returned before.
        _, error_output = starter.communicate(timeout=60)
        assert starter.returncode == 0 or "Unavailable" in error_output


def check_next_start(project: Project) -> None:
    """Start, look at every server, stop, and look for what is left."""
    client.start_servers(project)
    assert {row.state for row in client.list_server_status(project)} == {"up"}
    assert client.stop_servers(project)
    assert list_processes(project) == []
    assert not project.runtime_dir.exists()
    assert not (project.state_dir / "run.json").exists()


@pytest.mark.parametrize(
    "phase", ["creating keys", *(pytest.param(text, marks=pytest.mark.long) for text in ("", "openbao", "enclave is"))]
)
def test_killed_during_the_first_start(phase: str):
    with projects.create_project() as project:
        kill_during_start(project, phase)
        assert wait_until(lambda: list_processes(project) == []), "the kernel ends the servers"
        check_next_start(project)


@pytest.mark.parametrize(
    "stopped_first", [STOPPED_FIRST[::5], pytest.param(STOPPED_FIRST, marks=pytest.mark.long)], ids=["sample", "all"]
)
def test_killed_during_a_later_start_and_during_each_phase_of_a_stop(stopped_first: tuple[str, ...]):
    with projects.running_project() as project:
        client.stop_servers(project)
        kill_during_start(project, "postgres is ready")
        for name in stopped_first:
            running = client.start_servers(project)
            server = running.servers[name]
            # The supervisor closes the connection without an answer.
            with pytest.raises(Unavailable):
                send_request(project, {"op": "stop"}, timeout=2)
            assert wait_until(lambda server=server: not is_same_process(server)), name
            if is_same_process(running.supervisor):
                os.kill(running.supervisor.pid, signal.SIGKILL)
            assert wait_until(lambda: list_processes(project) == []), name
        assert wait_until(lambda: not is_same_process(running.supervisor))
        check_next_start(project)

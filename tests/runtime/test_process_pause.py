"""Real processes: a parent and its child write the time into a file until they are paused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wellspring.errors import Unavailable
from wellspring.runtime.process_pause import are_stopped, list_processes, paused_processes, resume_processes

NOBODY: frozenset[int] = frozenset()
WRITER = """
import os, sys, time
pid = os.fork()
path = sys.argv[1] + ("-child" if pid == 0 else "")
number = 0
while True:
    number += 1
    with open(path, "w") as file:
        file.write(str(number))
    time.sleep(0.001)
"""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "file")], start_new_session=True)
    wait_until(lambda: (tmp_path / "file-child").exists() and (tmp_path / "file").exists())
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_running(process: subprocess.Popen[bytes]) -> bool:
    return not are_stopped(list_processes(process.pid, NOBODY))


def test_nothing_is_written_in_the_pause(writer: subprocess.Popen[bytes], tmp_path: Path):
    with paused_processes(writer.pid, NOBODY):
        assert len(list_processes(writer.pid, NOBODY)) == 2
        before = [(tmp_path / name).stat().st_mtime_ns for name in ("file", "file-child")]
        threading.Event().wait(0.05)
        assert [(tmp_path / name).stat().st_mtime_ns for name in ("file", "file-child")] == before
    wait_until(lambda: [(tmp_path / name).stat().st_mtime_ns for name in ("file", "file-child")] != before)


def test_a_process_that_ran_in_the_pause_makes_it_useless(writer: subprocess.Popen[bytes]):
    def disturb() -> None:
        os.kill(writer.pid, signal.SIGCONT)
        wait_until(lambda: is_running(writer))

    with pytest.raises(Unavailable, match="went on before"), paused_processes(writer.pid, NOBODY):
        disturb()


def test_a_pause_ends_at_its_limit(writer: subprocess.Popen[bytes]):
    with pytest.raises(Unavailable, match="limit"):
        with paused_processes(writer.pid, NOBODY, max_seconds=0.05):
            wait_until(lambda: is_running(writer))


def test_an_error_in_the_pause_continues_the_processes(writer: subprocess.Popen[bytes]):
    with pytest.raises(OSError, match="full"):
        with paused_processes(writer.pid, NOBODY):
            raise OSError("full")
    wait_until(lambda: is_running(writer))


def test_a_killed_command_leaves_nothing_paused(writer: subprocess.Popen[bytes]):
    code = (
        "import os, signal\nfrom wellspring.runtime.process_pause import paused_processes\n"
        f"with paused_processes({writer.pid}, frozenset()):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=False)
    assert ran.returncode == -signal.SIGKILL
    wait_until(lambda: is_running(writer))


def test_processes_that_were_left_paused_are_continued(writer: subprocess.Popen[bytes]):
    for pid in list_processes(writer.pid, NOBODY):
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not is_running(writer))
    resume_processes(writer.pid)
    wait_until(lambda: is_running(writer))

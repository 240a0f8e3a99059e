"""The kernel names the holders of a lock, also those that inherited it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from wellspring.runtime.lock_holders import describe_lock_holder, find_lock_holders
from wellspring.runtime.process_identity import process_start_time

HOLD = "import fcntl, sys, time\nlock = open(sys.argv[1], 'a')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
WAIT = "print('held', flush=True)\nsys.stdin.read()\n"


def start_holder(path: Path, code: str = HOLD + WAIT) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_holder_is_found_with_its_start_time_while_it_lives(tmp_path: Path):
    lock, unlocked = tmp_path / "a.lock", tmp_path / "unlocked.lock"
    unlocked.touch()
    with start_holder(lock) as process:
        (holder,) = find_lock_holders([lock, unlocked, tmp_path / "missing"])
        assert holder == (process.pid, process_start_time(process.pid), lock)
        assert describe_lock_holder(lock).startswith(f"pid {process.pid} (python")
        process.kill()
    assert find_lock_holders([lock]) == []
    assert describe_lock_holder(lock) == ""


def test_process_that_only_opened_the_file_is_no_holder(tmp_path: Path):
    lock = tmp_path / "a.lock"
    with start_holder(lock, "import sys\nlock = open(sys.argv[1], 'a')\n" + WAIT) as process:
        assert find_lock_holders([lock]) == []
        process.kill()


def test_link_to_a_locked_file_of_somebody_else_is_not_followed(tmp_path: Path):
    locked, link = tmp_path / "locked", tmp_path / "a.lock"
    with locked.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        link.symlink_to(locked)
        assert find_lock_holders([link]) == []
        assert [holder.pid for holder in find_lock_holders([locked])] == [os.getpid()]


def test_child_that_inherited_the_lock_of_an_ended_process_is_found(tmp_path: Path):
    lock = tmp_path / "a.lock"
    code = (
        HOLD + "import os\nif os.fork():\n    os._exit(0)\nprint('held', flush=True)\nprint(os.getpid(), flush=True)\n"
    )
    with start_holder(lock, code + "sys.stdin.read()\n") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait(60)
        assert [holder.pid for holder in find_lock_holders([lock])] == [child]
        assert "a child of it holds the lock" in describe_lock_holder(lock)
        os.kill(child, 9)

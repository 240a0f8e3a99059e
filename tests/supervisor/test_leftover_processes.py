"""A left-over process that holds a lock of the project is ended; a process of another user is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from tests.builders.recording_step import RecordingStep
from wellspring.embedded import layout
from wellspring.errors import CorruptedError, Unavailable
from wellspring.project import Project
from wellspring.runtime.lock_holders import LockHolder
from wellspring.runtime.privileges import detect_privileges
from wellspring.stores.locks.file import FileLocks
from wellspring.supervisor import client
from wellspring.supervisor.leftover_processes import end_leftover_processes, record_ended_processes

HOLD = (
    "import fcntl, os, sys\nuid = int(sys.argv[2])\nlock = open(sys.argv[1], 'a')\n"
    "fcntl.flock(lock, fcntl.LOCK_EX)\n"
    "if uid != os.getuid():\n    os.setgid(uid)\n    os.setuid(uid)\n"
    "print('held', flush=True)\nsys.stdin.read()\n"
)


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        layout.ensure_ownership(project)
        layout.create_folders(project, detect_privileges(project))
        yield project


def start_holder(path: Path, uid: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_stop_ends_a_leftover_process_and_names_it(project: Project):
    """The lock blocks runs, the error names the process, and `wellspring down` ends it."""
    uid = detect_privileges(project).uid_of("worker")
    locks = project.jobs_dir / "locks"
    with start_holder(locks / "landed.lock", uid) as process:
        with pytest.raises(Unavailable, match=f"another process holds landed: pid {process.pid} ") as refused:
            FileLocks(locks, wait_seconds=0).acquire("landed", "job:1")
        assert "wellspring down" in refused.value.fix
        output: list[str] = []
        ended: list[LockHolder] = []
        assert not client.stop_servers(project, progress=output.append, on_ended=ended.append)
        assert [holder.pid for holder in ended] == [process.pid]
        assert process.wait(60) == -9
        assert output == [f"ended pid {process.pid}, which was left over and held {locks / 'landed.lock'}"]
    FileLocks(locks, wait_seconds=0).acquire("landed", "job:1")
    step = RecordingStep()
    for _ in range(2):
        record_ended_processes(project, step)
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("end_process", "done", f"process:{process.pid}")
    assert entry.facts == {"uid": uid, "held": ".wellspring/jobs/locks/landed.lock"}


def test_damaged_list_of_ended_processes_stops_the_start(project: Project):
    (project.state_dir / "ended-processes.json").write_text("[1]")
    with pytest.raises(CorruptedError, match="is damaged"):
        record_ended_processes(project, RecordingStep())


@pytest.mark.parametrize("journal", ["worker", "enclave", "supervisor"])
def test_process_that_holds_a_journal_is_ended(project: Project, journal: str):
    user = detect_privileges(project)
    uid = os.geteuid() if journal == "supervisor" else user.uid_of(journal)
    with start_holder(project.journals_dir / journal / "lock", uid) as process:
        assert [holder.pid for holder in end_leftover_processes(project)] == [process.pid]
        assert process.wait(60) == -9


@pytest.mark.skipif(os.geteuid() != 0, reason="needs processes of other users")
@pytest.mark.parametrize("owner", ["root", "another"])
def test_process_of_another_user_is_never_ended(project: Project, owner: str):
    """The worker's user could lock any file and hand the descriptor to another process."""
    with start_holder(project.jobs_dir / "locks" / "landed.lock", 0 if owner == "root" else 12345) as process:
        assert end_leftover_processes(project) == []
        assert process.poll() is None
        process.kill()

"""Jobs for tests of the queue and the worker, and a warm server whose children are a few lines of Python."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wellspring.records.jobs import Job
from wellspring.runtime.process import Credential
from wellspring.worker.job_process import JobAssignment
from wellspring.worker.warm_client import WarmChild

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
CHILD_START = """
import json, os, signal, sys, threading
request, events = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w")
assignment = json.loads(request.readline())
job = assignment.get("job")
def emit(**event):
    print(json.dumps(event), file=events, flush=True)
"""
SUCCEED = "emit(event='result', value={'subject': job['subject']})"
WAIT = "emit(event='progress', stage='wait', done=0, total=1)\nthreading.Event().wait(60)"


def build_job(number: int = 1, **values: Any) -> Job:
    """Build a queued job."""
    fields: dict[str, Any] = {
        "tenant": "acme",
        "known_since": NOON,
        "id": f"{number:012x}",
        "run": f"run-{number}",
        "kind": "ingest",
        "subject": "vendor",
        "principal": "service:owner",
        "resources": ("built", "landed"),
        "attempt_limit": 3,
        "trace": "a" * 32,
    }
    return Job(**{**fields, **values})


def build_assignment(job: Job, **values: Any) -> JobAssignment:
    """Build what the worker writes to the child of a job."""
    return JobAssignment(job, Credential("role", "wrapped"), "worker", 0, None)._replace(**values)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> datetime:
        return self.instant

    def advance(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


class ScriptedWarmServer:
    """Starts a process of its own for each child, with the code that the test has for the job's subject, or for ''."""

    def __init__(self, scripts: dict[str, str]) -> None:
        self.scripts = scripts
        self.started: list[str] = []
        self.subjects: dict[str, str] = {}
        self.alive = True
        self._children: list[tuple[WarmChild, subprocess.Popen[bytes]]] = []

    def is_alive(self) -> bool:
        return self.alive

    def start_child(self, job_id: str, role: str, descriptors: Sequence[int]) -> WarmChild:
        request_fd, events_fd = descriptors[:2]
        code = self.scripts.get(self.subjects.get(job_id, ""), SUCCEED)
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD_START + code, str(request_fd), str(events_fd)],
            pass_fds=(request_fd, events_fd),
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        child = WarmChild(job_id)
        child.mark_started(process.pid)
        self._children.append((child, process))
        self.started.append(job_id)
        threading.Thread(target=self._wait, args=(child, process), daemon=True).start()
        return child

    def end(self) -> None:
        """End as a warm server that is killed: its children end with it."""
        self.alive = False
        for child, process in self._children:
            child.is_lost = True
            process.kill()
            process.wait()

    def close(self) -> None:
        self.end()

    def _wait(self, child: WarmChild, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        child.mark_ended(None if child.is_lost else status)


def write_project(folder: Path, text: str = "") -> Path:
    """Write a small project without servers, with its folder of state; return its folder."""
    (folder / "wellspring.toml").write_text(
        f'[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n{text}'
    )
    for name in (
        "jobs/locks",
        "journals",
        "metrics/worker",
        "lineage/worker",
        "tmp/worker",
        "tmp/code",
        "ledger",
        "lake",
    ):
        (folder / ".wellspring" / name).mkdir(parents=True, exist_ok=True)
    return folder

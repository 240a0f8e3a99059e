"""Run a job or a query as the worker: a job through its queue, a query in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from wellspring.cli.trace import get_command_trace
from wellspring.embedded.job_client import is_worker_alive, send_query
from wellspring.errors import decode_error
from wellspring.project import Project

ProgressCallback = Callable[[str, int, int], None]


def run_worker(
    project: Project,
    job: str,
    subject: str = "",
    *,
    params: dict[str, Any] | None = None,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Any:
    """Run one job, or answer one query (see `worker.query_handlers`), and return its result.

    params: further inputs. offline: answer a query without a credential when the worker is down. Raises the error of
    the job or query; Unavailable when the worker is down.
    """
    from wellspring.cli.job_follower import run_job
    from wellspring.worker.job_kinds import JOB_KINDS

    if job == "prove" and offline and not is_worker_alive(project):
        return run_query(project, "sealed-pack", subject, offline=True)
    if job in JOB_KINDS:
        return run_job(project, job, subject, params=params, on_progress=on_progress)
    return run_query(project, job, subject, params=params, offline=offline)


def run_query(
    project: Project, query: str, subject: str = "", *, params: dict[str, Any] | None = None, offline: bool = False
) -> Any:
    """Let the worker answer one query, and return its result. It waits for no job.

    offline: while the worker is down, answer it here, in a process of the worker's user without a credential.
    """
    if offline and not is_worker_alive(project):
        return _run_offline_query(project, query, subject, params or {})
    return send_query(project, query, subject, params or {}, trace=get_command_trace())


def _run_offline_query(project: Project, query: str, subject: str, params: dict[str, Any]) -> Any:
    from wellspring.runtime.privileges import service_command, service_environment
    from wellspring.worker.query_process import QueryAssignment
    from wellspring.worker.query_service import build_ending_error

    argv = [sys.executable, "-P", "-m", "wellspring.worker.query_process", "--project", str(project.root)]
    # Standard error goes to a file: long warnings must not fill a pipe that is not read yet.
    with tempfile.TemporaryFile("w+b") as stderr_file:
        process = subprocess.run(
            service_command(project, "worker", argv),
            input=QueryAssignment(query, subject, params, None, get_command_trace()).encode(),
            stdout=subprocess.PIPE,
            stderr=stderr_file,
            cwd="/",
            env=service_environment(project, "worker"),
            check=False,
        )
        stderr_file.seek(0)
        stderr_text = stderr_file.read().decode(errors="replace")
    for line in process.stdout.splitlines():
        event = json.loads(line)
        if event["event"] == "error":
            raise decode_error(event)
        if process.returncode == 0:
            return event["value"]
    raise build_ending_error(query, process.returncode, _exception_class(stderr_text))


def _exception_class(output: str) -> str:
    """Return the class of the exception only: its text could contain data."""
    lines = [line for line in output.strip().splitlines() if line and not line.startswith(" ")]
    return f": {lines[-1].partition(':')[0]}" if lines else ""

"""Run a job or a query as the worker: a job through its queue, a query in a short process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from wellspring.errors import Unavailable, WellspringError, decode_error
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

    params: further inputs. offline: answer a query without a credential when
    the servers are down. Raises the error of the job or query; Unavailable when the servers are down.
    """
    from wellspring.cli.job_follower import run_job
    from wellspring.embedded.job_client import is_worker_alive
    from wellspring.worker.job_kinds import JOB_KINDS

    if job == "prove" and offline and not is_worker_alive(project):
        return run_query(project, "sealed-pack", subject, offline=True)
    if job in JOB_KINDS:
        return run_job(project, job, subject, params=params, on_progress=on_progress)
    return run_query(project, job, subject, params=params, offline=offline)


def run_query(
    project: Project, query: str, subject: str = "", *, params: dict[str, Any] | None = None, offline: bool = False
) -> Any:
    """Answer one query in a process of the worker's user, and return its result. It waits for no job."""
    from wellspring.embedded.control_socket import request_credential
    from wellspring.runtime.privileges import service_command, service_environment

    worker_credential: dict[str, str] | None
    try:
        worker_credential = request_credential(project, "worker")
    except Unavailable:
        if not offline:
            raise
        worker_credential = None
    argv = [
        sys.executable,
        "-P",
        "-m",
        "wellspring.worker.query_process",
        query,
        *([subject] if subject else []),
        "--project",
        str(project.root),
    ]
    result: Any = None
    error: WellspringError | None = None
    finished = False
    # Standard error goes to a file: long warnings must not fill a pipe that is not read yet.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr_file:
        with subprocess.Popen(
            service_command(project, "worker", argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr_file,
            text=True,
            cwd="/",
            env=service_environment(project, "worker"),
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            # A process that ends before it reads its input is reported by its exit code.
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(json.dumps({"credential": worker_credential, "params": params or {}}) + "\n")
            for line in child.stdout:
                event = json.loads(line)
                if event["event"] == "result":
                    result, finished = event["value"], True
                elif event["event"] == "error":
                    error = decode_error(event)
        stderr_file.seek(0)
        stderr_text, code = stderr_file.read(), child.returncode
    if error is not None:
        raise error
    if code != 0 or not finished:
        raise WellspringError(
            f"the query {query!r} ended unexpectedly ({'signal ' + str(-code) if code < 0 else 'exit ' + str(code)})"
            + _exception_class(stderr_text),
            fix="run the command again",
        )
    return result


def _exception_class(output: str) -> str:
    """Return the class of the exception only: its text could contain data."""
    lines = [line for line in output.strip().splitlines() if line and not line.startswith(" ")]
    return f": {lines[-1].partition(':')[0]}" if lines else ""

"""Start a worker process under its own user, send it its credential over a pipe, and read its events."""

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
    """Run one worker job and return its result.

    params: further inputs of the job; sent over the pipe, never in an argument list. offline: run without a credential
    when the servers are down. Raises the error of the job; Unavailable when the servers are down.
    """
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
        "wellspring.worker",
        job,
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
                if event["event"] == "progress" and on_progress is not None:
                    on_progress(event["stage"], event["done"], event["total"])
                elif event["event"] == "result":
                    result, finished = event["value"], True
                elif event["event"] == "error":
                    error = decode_error(event)
        stderr_file.seek(0)
        stderr_text, code = stderr_file.read(), child.returncode
    if error is not None:
        raise error
    if code != 0 or not finished:
        raise WellspringError(
            f"the job {job!r} ended unexpectedly ({'signal ' + str(-code) if code < 0 else 'exit ' + str(code)})"
            + _exception_class(stderr_text),
            fix="run the command again: no data is lost, and an unfinished step is completed first",
        )
    return result


def _exception_class(output: str) -> str:
    """Return the class of the exception only: its text could contain data."""
    lines = [line for line in output.strip().splitlines() if line and not line.startswith(" ")]
    return f": {lines[-1].partition(':')[0]}" if lines else ""

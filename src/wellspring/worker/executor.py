"""Executes one job as the worker user, holding the writer lock of the catalog and the ledger.

Started as `python -m wellspring.worker JOB --project P`. Reads one JSON line from standard input: the credential (null
for jobs that need no server) and the parameters, which may include a user's login token and therefore must not be
command line arguments. Writes JSON lines to standard output: progress, then one result or one error.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from wellspring.errors import Unavailable, WellspringError, encode_error
from wellspring.project import Project, load_project
from wellspring.runtime.process import Credential, build_argument_parser
from wellspring.runtime.sandbox import confine_process
from wellspring.worker.handlers import HANDLERS
from wellspring.worker.job_request import JobRequest


def main(argv: list[str] | None = None) -> int:
    """Read the request from standard input, execute the job and return its exit code."""
    arguments = _parse_arguments(argv)
    line = sys.stdin.readline()
    payload: dict[str, Any] = json.loads(line) if line.strip() else {}
    # Redirect the output of libraries to standard error: standard output is reserved for JSON lines.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    credential = payload.get("credential")
    return execute_job(
        arguments, None if credential is None else Credential(**credential), output, payload.get("params")
    )


def execute_job(
    arguments: argparse.Namespace, credential: Credential | None, output: TextIO, params: dict[str, Any] | None = None
) -> int:
    """Execute a job, write its outcome as one JSON line and return the exit code."""

    def emit(event: dict[str, Any]) -> None:
        output.write(json.dumps(event) + "\n")
        output.flush()

    def progress(stage: str, done: int, total: int) -> None:
        emit({"event": "progress", "stage": stage, "done": done, "total": total})

    try:
        project = load_project(arguments.project, sources=False)
        confine_process(project, role="worker")
        with hold_writer_lock(project):
            value = HANDLERS[arguments.run](JobRequest(project, credential, arguments.subject, params or {}, progress))
        emit({"event": "result", "value": value})
    except WellspringError as exc:
        emit({"event": "error", **encode_error(exc)})
        return exc.exit_code
    return 0


@contextmanager
def hold_writer_lock(project: Project) -> Iterator[None]:
    """Hold the writer lock of the catalog and the ledger. Raises Unavailable when another run holds it."""
    try:
        lock = (project.state_dir / "writer.lock").open("a+")
    except FileNotFoundError:
        raise Unavailable("the servers of this project were never started", fix="run `wellspring up`") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another run is in progress in this project", fix="try again when it has ended") from None
        yield


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = build_argument_parser("wellspring.worker")
    parser.add_argument("run", choices=sorted(HANDLERS))
    parser.add_argument("subject", nargs="?", default="")
    return parser.parse_args(argv)

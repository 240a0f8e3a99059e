"""Answers one query as the worker's user, in a process of its own: it holds no lock and waits for no job.

The worker answers a query in a child of its warm server. While the worker is down, the command starts
`python -m wellspring.worker.query_process --project P`, which reads the assignment from standard input and writes the
result or the error to standard output, as one JSON line each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from wellspring.errors import Unavailable, WellspringError, encode_error
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import service_environment
from wellspring.runtime.process import Credential, build_argument_parser, harden_process
from wellspring.runtime.sandbox import confine_process
from wellspring.worker.query_handlers import QUERY_HANDLERS, QueryRequest


class QueryAssignment(NamedTuple):
    """One query and its credential; None for a query that needs no server. trace: of the command; '' begins one."""

    query: str
    subject: str
    parameters: dict[str, Any]
    credential: Credential | None
    trace: str = ""

    def encode(self) -> bytes:
        """Encode the assignment as one JSON line."""
        credential = None if self.credential is None else self.credential._asdict()
        return json.dumps({**self._asdict(), "credential": credential}).encode() + b"\n"


def decode_assignment(line: str) -> QueryAssignment:
    """Decode the line that `QueryAssignment.encode` returned."""
    document: dict[str, Any] = json.loads(line)
    credential = document["credential"]
    return QueryAssignment(
        str(document["query"]),
        str(document["subject"]),
        document["parameters"],
        None if credential is None else Credential(**credential),
        str(document["trace"]),
    )


def run_query_process(project_root: Path, request_fd: int, result_fd: int) -> int:
    """Read a query, answer it and write the result, in a child of the warm server; return its exit code."""
    with os.fdopen(request_fd, encoding="utf-8") as file:
        line = file.readline()
    if not line:
        return 1
    with os.fdopen(result_fd, "w", encoding="utf-8") as output:
        harden_process(umask=0o027)
        try:
            project = load_project(project_root, environ={}, sources=False)
            os.environ.clear()
            os.environ.update(service_environment(project, "worker"))
            return answer_query(project, decode_assignment(line), output)
        except WellspringError as exc:
            _write_event(output, {"event": "error", **encode_error(exc)})
            return exc.exit_code


def answer_query(project: Project, assignment: QueryAssignment, output: TextIO) -> int:
    """Confine this process, answer a query, write the result or the error, and return the exit code."""
    try:
        if not project.state_dir.is_dir():
            raise Unavailable("the servers of this project were never started", fix="run `wellspring up`")
        confine_process(project, role="worker")
        request = QueryRequest(
            project, assignment.credential, assignment.subject, assignment.parameters, assignment.trace
        )
        _write_event(output, {"event": "result", "value": QUERY_HANDLERS[assignment.query](request)})
    except WellspringError as exc:
        _write_event(output, {"event": "error", **encode_error(exc)})
        return exc.exit_code
    return 0


def _write_event(output: TextIO, event: dict[str, Any]) -> None:
    output.write(json.dumps(event) + "\n")
    output.flush()


def main(argv: list[str] | None = None) -> int:
    """Read the assignment from standard input, answer the query and return the exit code."""
    arguments = build_argument_parser("wellspring.worker.query_process").parse_args(argv)
    assignment = decode_assignment(sys.stdin.readline())
    # Redirect the output of libraries to standard error: standard output is reserved for the result.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        project = load_project(arguments.project, sources=False)
    except WellspringError as exc:
        _write_event(output, {"event": "error", **encode_error(exc)})
        return exc.exit_code
    return answer_query(project, assignment, output)


if __name__ == "__main__":
    sys.exit(main())

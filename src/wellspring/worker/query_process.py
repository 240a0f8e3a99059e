"""Answers one query as the worker user, in a short process: it holds no lock and waits for no job.

Started as `python -m wellspring.worker.query_process QUERY --project P`. Reads one JSON line from standard input: the
credential (null for queries that need no server) and the parameters. Writes one JSON line to standard output: a result
or an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, TextIO

from wellspring.errors import Unavailable, WellspringError, encode_error
from wellspring.project import load_project
from wellspring.runtime.process import Credential, build_argument_parser
from wellspring.runtime.sandbox import confine_process
from wellspring.worker.query_handlers import QUERY_HANDLERS, QueryRequest


def main(argv: list[str] | None = None) -> int:
    """Read the request from standard input, answer the query and return the exit code."""
    arguments = _parse_arguments(argv)
    line = sys.stdin.readline()
    payload: dict[str, Any] = json.loads(line) if line.strip() else {}
    # Redirect the output of libraries to standard error: standard output is reserved for JSON lines.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    credential = payload.get("credential")
    return answer_query(
        arguments, None if credential is None else Credential(**credential), output, payload.get("params")
    )


def answer_query(
    arguments: argparse.Namespace, credential: Credential | None, output: TextIO, params: dict[str, Any] | None = None
) -> int:
    """Answer a query, write the result or the error as one JSON line and return the exit code."""

    def emit(event: dict[str, Any]) -> None:
        output.write(json.dumps(event) + "\n")
        output.flush()

    try:
        project = load_project(arguments.project, sources=False)
        if not project.state_dir.is_dir():
            raise Unavailable("the servers of this project were never started", fix="run `wellspring up`")
        confine_process(project, role="worker")
        request = QueryRequest(project, credential, arguments.subject, params or {})
        emit({"event": "result", "value": QUERY_HANDLERS[arguments.query](request)})
    except WellspringError as exc:
        emit({"event": "error", **encode_error(exc)})
        return exc.exit_code
    return 0


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = build_argument_parser("wellspring.worker.query_process")
    parser.add_argument("query", choices=sorted(QUERY_HANDLERS))
    parser.add_argument("subject", nargs="?", default="")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

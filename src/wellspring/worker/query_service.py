"""Answers queries in children of the warm server; a query waits for no job."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydantic import JsonValue

from wellspring.errors import NotFound, WellspringError, decode_error, suggest_name
from wellspring.runtime.process import Credential
from wellspring.worker.query_handlers import QUERY_HANDLERS
from wellspring.worker.query_process import QueryAssignment
from wellspring.worker.warm_client import WarmChild, WarmClient

MAX_QUERIES = 8
"""Queries that are answered at a time; further ones wait."""


class QueryService:
    """Answers the queries of one project, each in a process of its own. Safe for threads."""

    def __init__(
        self, *, find_warm_server: Callable[[], WarmClient], request_credential: Callable[[], Credential]
    ) -> None:
        self._find_warm_server = find_warm_server
        self._request_credential = request_credential
        self._slots = threading.BoundedSemaphore(MAX_QUERIES)

    def answer_query(self, query: str, subject: str, parameters: dict[str, JsonValue], trace: str = "") -> JsonValue:
        """Answer one query. trace: of the command.

        Raises its error; NotFound for an unknown one; Unavailable without the warm server.
        """
        if query not in QUERY_HANDLERS:
            raise NotFound(f"no query {query!r}", fix=suggest_name(query, list(QUERY_HANDLERS)))
        with self._slots:
            assignment = QueryAssignment(query, subject, parameters, self._request_credential(), trace)
            return self._run(assignment)

    def _run(self, assignment: QueryAssignment) -> JsonValue:
        request_reader, request_writer = os.pipe2(os.O_CLOEXEC)
        result_reader, result_writer = os.pipe2(os.O_CLOEXEC)
        with os.fdopen(result_reader, "rb") as result, os.fdopen(request_writer, "wb", buffering=0) as request:
            try:
                child = self._find_warm_server().start_child(
                    f"query-{secrets.token_hex(6)}", "query", (request_reader, result_writer)
                )
            finally:
                os.close(request_reader)
                os.close(result_writer)
            with suppress(BrokenPipeError):
                request.write(assignment.encode())
            lines = result.read().splitlines()
        child.wait_ended()
        return _read_result(assignment.query, child, lines)


def _read_result(query: str, child: WarmChild, lines: list[bytes]) -> JsonValue:
    event: dict[str, Any] = {}
    if lines and child.status is not None:
        try:
            event = json.loads(lines[-1])
        except ValueError:
            event = {}
    match event:
        case {"event": "result", "value": value} if child.status == 0:
            return value
        case {"event": "error", **error}:
            raise decode_error(error)
        case _:
            raise build_ending_error(query, child.status)


def build_ending_error(query: str, status: int | None, detail: str = "") -> WellspringError:
    """Return the error of a query whose process ended without a result. status: None if its server was killed."""
    if status is None:
        ending = "its server was stopped"
    else:
        ending = f"signal {-status}" if status < 0 else f"exit {status}"
    return WellspringError(f"the query {query!r} ended unexpectedly ({ending}){detail}", fix="run the command again")

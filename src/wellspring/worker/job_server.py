"""The socket `jobs`: the project's owner and root submit, list, follow and cancel jobs, and query, as JSON lines."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from wellspring.errors import Refused, WellspringError, encode_error
from wellspring.records.jobs import MAX_JOB_REQUEST_BYTES, JobState
from wellspring.runtime.unix_socket import peer_uid
from wellspring.worker.job_service import JobService, JobSubmission
from wellspring.worker.query_service import QueryService

_REQUEST_TIMEOUT = 5.0
_MAX_CONNECTIONS = 64
_FIX = "send one of: ping, submit, list, show, follow, cancel, retry, query"
OWNER_PRINCIPAL = "service:owner"


class JobServer:
    """Serves one listening socket, which the supervisor has bound, on threads of its own. uids: who may connect."""

    def __init__(
        self, listener: socket.socket, service: JobService, queries: QueryService, uids: frozenset[int]
    ) -> None:
        self._listener = listener
        self._service = service
        self._queries = queries
        self._uids = uids
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept_connections, name="jobs socket", daemon=True)

    def start_serving(self) -> None:
        """Accept connections in a thread of its own, until the process ends."""
        self._thread.start()

    def _accept_connections(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                return
            self._slots.acquire()
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        try:
            # A client that disconnects or sends invalid JSON gets no response.
            with connection, suppress(OSError, ValueError):
                connection.settimeout(_REQUEST_TIMEOUT)
                request = json.loads(_read_line(connection))
                connection.settimeout(None)
                for message in self._build_messages(request, peer_uid(connection)):
                    connection.sendall(json.dumps(message).encode() + b"\n")
        finally:
            self._slots.release()

    def _build_messages(self, request: Any, uid: int) -> Iterator[dict[str, Any]]:
        try:
            if uid not in self._uids:
                raise Refused(f"uid {uid} may not use the jobs of this project", fix="run as its owner")
            if not isinstance(request, dict):
                raise Refused("the request is not a JSON object", fix=_FIX)
            yield from self._handle_request(request)
        except WellspringError as error:
            yield {"error": encode_error(error)}

    def _handle_request(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        service = self._service
        match request:
            case {"op": "ping"}:
                yield {"pid": os.getpid()}
            case {"op": "submit"}:
                yield {"job": service.submit_job(_read_submission(request), OWNER_PRINCIPAL).model_dump(mode="json")}
            case {"op": "query", "query": str(query), "subject": str(subject), "parameters": dict(parameters)}:
                yield {"result": self._queries.answer_query(query, subject, parameters, str(request.get("trace", "")))}
            case {"op": "list", "limit": int(limit)}:
                states: frozenset[JobState] | None = frozenset(request["states"]) if request.get("states") else None
                yield {"jobs": [job.model_dump(mode="json") for job in service.list_jobs(states, limit)]}
            case {"op": "show", "id": str(job_id)}:
                yield {"job": service.queue.get_job(job_id).model_dump(mode="json")}
            case {"op": "follow", "id": str(job_id)}:
                for event in service.follow_job(job_id):
                    yield {"event": event.model_dump(mode="json")}
                yield {"job": service.queue.get_job(job_id).model_dump(mode="json")}
            case {"op": "cancel", "id": str(job_id)}:
                yield {"job": service.cancel_job(job_id).model_dump(mode="json")}
            case {"op": "retry", "id": str(job_id)}:
                yield {"job": service.retry_job(job_id).model_dump(mode="json")}
            case _:
                raise Refused("the worker does not support this request", fix=_FIX)


def _read_submission(request: dict[str, Any]) -> JobSubmission:
    """Read a submission. Raises Refused for a field of another type."""

    def read_field(name: str, kind: type, default: Any) -> Any:
        value = request.get(name, default)
        if type(value) is not kind:
            raise Refused(f"the field {name!r} of a job is not a {kind.__name__}", fix=_FIX)
        return value

    crash_at = request.get("crash_at")
    return JobSubmission(
        kind=read_field("kind", str, None),
        subject=read_field("subject", str, ""),
        parameters=read_field("parameters", dict, {}),
        run=read_field("run", str, ""),
        is_interactive=read_field("is_interactive", bool, False),
        priority=read_field("priority", int, 0),
        trace=read_field("trace", str, ""),
        crash_at=crash_at if isinstance(crash_at, str) else None,
    )


def _read_line(connection: socket.socket) -> bytes:
    """Read one line. Raises OSError, ValueError when it is too long."""
    buffer = bytearray()
    while not buffer.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError
        buffer += chunk
        if len(buffer) > MAX_JOB_REQUEST_BYTES:
            raise ValueError("the request is too long")
    return bytes(buffer)

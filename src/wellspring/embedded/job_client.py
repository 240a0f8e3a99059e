"""The client side of the worker's socket `jobs`: submit a job, follow it, list and cancel jobs, and query."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wellspring.errors import Refused, Unavailable, decode_error
from wellspring.project import Project
from wellspring.records.jobs import MAX_JOB_REQUEST_BYTES, Job, JobEvent
from wellspring.runtime.process_identity import is_same_process
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import connect_unix_socket

_RESPONSE_TIMEOUT = 30.0
_LIVENESS_SECONDS = 2.0
RESTART_SECONDS = 30.0
"""How long a follower waits for a worker that is restarted."""
_POLL_SECONDS = 0.1


def is_worker_ready(project: Project, pid: int | None = None) -> bool:
    """Return whether the worker answers. pid: of the process that must answer; None for any."""
    try:
        response = _request(project, {"op": "ping"}, timeout=2.0)
    except (Unavailable, Refused):
        return False
    return "pid" in response and pid in (None, response["pid"])


def send_job_request(project: Project, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one request to the worker and return its response.

    Raises the error that the worker answers with; Unavailable when it is not up; Refused for another user.
    """
    if not is_worker_alive(project):
        raise _not_up(project)
    return _request(project, request, timeout=_RESPONSE_TIMEOUT)


def send_query(project: Project, query: str, subject: str, parameters: Mapping[str, Any], *, trace: str = "") -> Any:
    """Return the answer of the worker to a query. trace: of the command.

    Raises the error of the query; Unavailable if the worker ends.
    """
    request = {"op": "query", "query": query, "subject": subject, "parameters": dict(parameters), "trace": trace}
    with _connect(project, request, _LIVENESS_SECONDS) as connection:
        for line in _read_lines(connection, lambda: is_worker_alive(project)):
            return _check_message(json.loads(line))["result"]
    raise _not_up(project)


def _request(project: Project, request: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    with _connect(project, request, timeout) as connection, connection.makefile("rb") as file:
        try:
            message = json.loads(file.readline())
        except (OSError, ValueError):
            raise _not_up(project) from None
    return _check_message(message)


def submit_job(project: Project, kind: str, subject: str = "", **fields: Any) -> Job:
    """Submit a job and return it. fields: of `JobSubmission`."""
    response = send_job_request(project, {"op": "submit", "kind": kind, "subject": subject, **fields})
    return Job.model_validate(response["job"])


def follow_job(project: Project, job_id: str, on_event: Callable[[JobEvent], None]) -> Job:
    """Pass the events of a job on until it has ended, and return it; a worker that is restarted meanwhile runs it on.

    Raises NotFound; Unavailable when the worker ends and is not up again in time.
    """
    if not is_worker_alive(project):
        raise _not_up(project)
    passed_on = 0
    while True:
        count = 0
        with _connect(project, {"op": "follow", "id": job_id}, _LIVENESS_SECONDS) as connection:
            for line in _read_lines(connection, lambda: is_worker_alive(project)):
                message = _check_message(json.loads(line))
                if "job" in message:
                    return Job.model_validate(message["job"])
                count += 1
                if count > passed_on:
                    passed_on = count
                    on_event(JobEvent.model_validate(message["event"]))
        if not _wait_for_worker(project):
            raise Unavailable(
                f"the worker ended while it ran the job {job_id}; it runs it again when it is up",
                fix=f"run `wellspring up`, then `wellspring job follow {job_id}`",
            )


def _wait_for_worker(project: Project) -> bool:
    """Wait until the supervisor has restarted the worker; return whether it has."""
    pause = threading.Event()
    for _ in range(int(RESTART_SECONDS / _POLL_SECONDS)):
        pause.wait(_POLL_SECONDS)
        if is_worker_alive(project) and is_worker_ready(project):
            return True
    return False


def is_worker_alive(project: Project) -> bool:
    """Return whether the process of the worker runs; the supervisor keeps its socket open also without it."""
    running = read_run_state(project)
    worker = running.servers.get("worker") if running is not None else None
    return worker is not None and is_same_process(worker)


def _read_lines(connection: socket.socket, is_alive: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the lines of a connection until it closes, or its server is gone."""
    buffer = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except TimeoutError:
            if not is_alive():
                return
            continue
        except OSError:
            return
        if not chunk:
            return
        *lines, buffer = (buffer + chunk).split(b"\n")
        yield from lines


def _connect(project: Project, request: Mapping[str, Any], timeout: float) -> socket.socket:
    encoded = json.dumps(dict(request)).encode() + b"\n"
    if len(encoded) > MAX_JOB_REQUEST_BYTES:
        raise Refused(
            f"the request has {len(encoded):,} bytes, and the worker reads at most {MAX_JOB_REQUEST_BYTES:,}",
            fix="send it in parts: several jobs with fewer names each",
        )
    try:
        connection = connect_unix_socket(find_server_socket(project, "jobs"), timeout)
    except PermissionError:
        raise Refused(
            f"the worker of {project.root} accepts jobs from its owner only",
            fix="run as the user who ran `wellspring up`",
        ) from None
    except OSError:
        raise _not_up(project) from None
    try:
        connection.sendall(encoded)
    except OSError:
        connection.close()
        raise _not_up(project) from None
    return connection


def _not_up(project: Project) -> Unavailable:
    server = "servers" if read_run_state(project) is None else "worker"
    verb = "are" if server == "servers" else "is"
    return Unavailable(f"the {server} of {project.root} {verb} not up", fix="run `wellspring up`")


def _check_message(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        raise decode_error(message["error"])
    return message

"""The client of the worker's socket: answers, errors, and a worker that is gone."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import sockets
from tests.builders.jobs import NOON, build_job, write_project
from wellspring.embedded import job_client
from wellspring.errors import NotFound, Refused, Unavailable, encode_error
from wellspring.project import Project, load_project
from wellspring.records.jobs import JobEvent
from wellspring.runtime.process_identity import process_start_time


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project whose worker is this process."""
    project = load_project(write_project(tmp_path), environ={})
    process = {"pid": os.getpid(), "start_ticks": process_start_time(os.getpid()), "version": "1"}
    state = {"supervisor": process, "servers": {"worker": process}, "started_at": NOON, "separation": "process"}
    (project.state_dir / "run.json").write_text(json.dumps(state, default=str).replace("+00:00", "Z"))
    sockets.create_socket_folders(project)
    yield project
    project.socket_path("jobs").unlink(missing_ok=True)
    sockets.remove_socket_folders(project)


@contextmanager
def served(project: Project, *lines: Any) -> Iterator[list[Any]]:
    """Answer one request with these lines; yield the list of requests."""
    requests: list[Any] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(project.socket_path("jobs")))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as file:
                requests.append(json.loads(file.readline()))
                for line in lines:
                    connection.sendall(json.dumps(line).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield requests
        thread.join()


def encoded(**values: Any) -> dict[str, Any]:
    return {"job": build_job(**values).model_dump(mode="json")}


def test_a_submission_returns_the_job(project: Project):
    with served(project, encoded()) as requests:
        assert job_client.submit_job(project, "ingest", "vendor", run="r1") == build_job()
    assert requests == [{"op": "submit", "kind": "ingest", "subject": "vendor", "run": "r1"}]


def test_an_error_of_the_worker_is_raised(project: Project):
    with served(project, {"error": encode_error(NotFound("no job", fix="see"))}), pytest.raises(NotFound):
        job_client.send_job_request(project, {"op": "show", "id": "1"})


def test_a_follower_gets_each_event_and_the_job(project: Project):
    event = JobEvent(at=NOON, attempt=1, event="progress", stage="fetch", done=1, total=2)
    events: list[JobEvent] = []
    with served(project, {"event": event.model_dump(mode="json")}, encoded(state="succeeded")):
        assert job_client.follow_job(project, build_job().id, events.append).state == "succeeded"
    assert events == [event]


def test_a_worker_that_ends_while_it_is_followed_is_unavailable(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_client, "RESTART_SECONDS", 0.0)
    with served(project), pytest.raises(Unavailable, match="it runs it again when it is up") as raised:
        job_client.follow_job(project, "0" * 12, lambda _: None)
    assert raised.value.fix == "run `wellspring up`, then `wellspring job follow 000000000000`"


def test_a_worker_that_is_restarted_is_followed_on(project: Project, monkeypatch: pytest.MonkeyPatch):
    first, second = (
        {"event": JobEvent(at=NOON, attempt=number, event="started").model_dump(mode="json")} for number in (1, 2)
    )
    events: list[int] = []

    def follow() -> None:
        job_client.follow_job(project, build_job().id, lambda event: events.append(event.attempt))

    thread = threading.Thread(target=follow)
    monkeypatch.setattr(job_client, "is_worker_ready", lambda project: ready.is_set())
    ready = threading.Event()
    with served(project, first):
        thread.start()
    project.socket_path("jobs").unlink()
    with served(project, first, second, encoded(state="succeeded")):
        ready.set()
        thread.join(60)
    assert events == [1, 2]


def test_a_worker_that_is_dead_is_not_waited_for(project: Project):
    run_file = project.state_dir / "run.json"
    run_file.write_text(run_file.read_text().replace(str(process_start_time(os.getpid())), "1"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # The supervisor keeps the socket open.
        listener.bind(str(project.socket_path("jobs")))
        listener.listen()
        for call in (
            lambda: job_client.submit_job(project, "ingest"),
            lambda: job_client.follow_job(project, "1", lambda _: None),
        ):
            with pytest.raises(Unavailable, match=r"the worker of .* is not up"):
                call()


def test_without_servers_it_says_so(tmp_path: Path):
    project = load_project(write_project(tmp_path), environ={})
    with pytest.raises(Unavailable, match=r"the servers of .* are not up"):
        job_client.submit_job(project, "ingest")
    assert not job_client.is_worker_ready(project)
    assert not job_client.is_worker_alive(project)


def test_a_worker_that_answers_is_ready(project: Project):
    with served(project, {"pid": 7}):
        assert job_client.is_worker_ready(project)
    project.socket_path("jobs").unlink()
    with served(project):
        assert not job_client.is_worker_ready(project)


def test_a_request_that_the_worker_would_not_read_is_refused_before_it_is_sent(project: Project):
    # Nobody listens: a request that was sent would be Unavailable.
    with pytest.raises(Refused, match="reads at most 262,144"):
        job_client.submit_job(project, "replay-predictions", parameters={"predictions": ["p" * 20] * 20_000})

"""The socket of the worker: who may use it, and what it answers to bad requests."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.worker import WorkerWorld
from wellspring.records.jobs import MAX_JOB_REQUEST_BYTES
from wellspring.runtime.process import Credential
from wellspring.worker.job_server import JobServer
from wellspring.worker.query_service import QueryService


class ServedWorker:
    """A worker and the path of its socket."""

    def __init__(self, world: WorkerWorld, path: Path) -> None:
        self.world = world
        self.path = path

    def send(self, line: bytes) -> list[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.path))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as file:
                return [json.loads(answer) for answer in file.read().splitlines()]

    def request(self, **request: Any) -> list[dict[str, Any]]:
        return self.send(json.dumps(request).encode() + b"\n")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedWorker]:
    world = WorkerWorld(tmp_path)
    path = tmp_path / "jobs.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        queries = QueryService(
            find_warm_server=world.dispatcher.find_warm_server, request_credential=lambda: Credential("r", "w")
        )
        server = JobServer(listener, world.service, queries, frozenset({os.geteuid()}))
        server.start_serving()
        yield ServedWorker(world, path)
        listener.shutdown(socket.SHUT_RDWR)
    world.close()


def test_a_job_is_submitted_shown_listed_and_cancelled(served: ServedWorker):
    assert served.request(op="ping") == [{"pid": os.getpid()}]
    (submitted,) = served.request(op="submit", kind="ingest", subject="vendor", run="r1")
    job_id = submitted["job"]["id"]
    assert served.request(op="show", id=job_id) == [submitted]
    assert [job["id"] for job in served.request(op="list", limit=5)[0]["jobs"]] == [job_id]
    assert served.request(op="list", limit=5, states=["running"]) == [{"jobs": []}]
    assert served.request(op="cancel", id=job_id)[0]["job"]["state"] == "cancelled"
    assert served.request(op="retry", id=job_id)[0]["job"]["state"] == "queued"


def test_a_follower_gets_the_events_and_then_the_job(served: ServedWorker):
    with served.world.running():
        (submitted,) = served.request(op="submit", kind="ingest", subject="vendor")
        messages = served.request(op="follow", id=submitted["job"]["id"])
    assert [message["event"]["event"] for message in messages[:-1]] == ["started", "ended"]
    assert messages[-1]["job"]["state"] == "succeeded"


@pytest.mark.parametrize(
    ("request_", "slug"),
    [
        ({"op": "reveal"}, "refused"),
        ({"op": "list"}, "refused"),
        ({"op": "show", "id": "f" * 12}, "not-found"),
        ({"op": "submit"}, "refused"),
        ({"op": "submit", "kind": ["ingest"]}, "refused"),
        ({"op": "submit", "kind": "ingest", "subject": "vendor", "priority": True}, "refused"),
        ({"op": "submit", "kind": "ingest", "subject": "vendor", "parameters": []}, "refused"),
        ({"op": "submit", "kind": "nothing"}, "not-found"),
    ],
)
def test_a_bad_request_is_an_error(served: ServedWorker, request_: dict[str, Any], slug: str):
    (answer,) = served.request(**request_)
    assert answer["error"]["slug"] == slug
    assert served.world.queue.list_jobs() == []


@pytest.mark.parametrize("line", [b"", b"no json\n", b"{" * MAX_JOB_REQUEST_BYTES + b"{\n", b"\xff\n"])
def test_a_request_that_cannot_be_read_gets_no_answer(served: ServedWorker, line: bytes):
    assert served.send(line) == []
    assert served.request(op="ping")


def test_another_user_is_refused(served: ServedWorker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wellspring.worker.job_server.peer_uid", lambda _: 64103)
    (answer,) = served.request(op="submit", kind="ingest", subject="vendor")
    assert answer["error"]["what"] == "uid 64103 may not use the jobs of this project"
    assert served.world.queue.list_jobs() == []
    assert served.send(b"[]\n")[0]["error"]["slug"] == "refused"

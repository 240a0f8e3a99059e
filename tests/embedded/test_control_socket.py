"""The supervisor's door answers its owner, and nobody else."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import projects
from wellspring.embedded import control_socket
from wellspring.embedded.control_socket import ControlSocket, request_credential, send_request
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project


@pytest.fixture
def here() -> Iterator[Project]:
    with projects.project() as project:
        project.runtime_dir.mkdir()
        yield project


@contextmanager
def answering(path: Path, handle: Any, *, times: int = 1, seconds: float = 2) -> Iterator[ControlSocket]:
    door = ControlSocket(path, handle, timeout=seconds)

    def serve() -> None:
        for _ in range(times):
            door.serve_one()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield door
        thread.join(10)
    finally:
        door.close()


def test_a_request_is_answered(here: Project):
    with answering(here.socket_path("control"), lambda request: {"heard": request}):
        assert send_request(here, {"op": "status"}) == {"heard": {"op": "status"}}
    assert here.socket_path("control").stat().st_mode & 0o777 == 0o600


def test_a_credential_is_the_two_words_and_no_more(here: Project):
    given = {"role_id": "r", "wrapped": "w", "other": "x"}
    with answering(here.socket_path("control"), lambda _: given):
        assert request_credential(here, "worker") == {"role_id": "r", "wrapped": "w"}


def test_an_error_keeps_its_kind(here: Project):
    def handle(_: dict[str, Any]) -> dict[str, Any]:
        raise NotFound("no such thing", fix="look elsewhere")

    with answering(here.socket_path("control"), handle), pytest.raises(NotFound, match="no such thing") as told:
        send_request(here, {"op": "x"})
    assert told.value.fix == "look elsewhere"


def test_a_caller_who_is_not_the_owner_is_refused(here: Project, monkeypatch: pytest.MonkeyPatch):
    heard: list[Any] = []
    monkeypatch.setattr(control_socket.struct, "unpack", lambda *_: (1, 64103, 64103))
    with answering(here.socket_path("control"), lambda request: heard.append(request) or {}):
        with pytest.raises(Refused, match="uid 64103"):
            send_request(here, {"op": "credential", "role": "enclave"})
    assert heard == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_does_not_even_reach_the_door(here: Project):
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    here.runtime_dir.chmod(0o711)
    with answering(here.socket_path("control"), lambda _: {}, times=0):
        told = subprocess.run(
            ["setpriv", "--reuid", "64103", "--regid", "64103", "--clear-groups", sys.executable, "-S", "-c", code,
             str(here.socket_path("control"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert told.returncode != 0


@pytest.mark.parametrize("said", [b"", b"\n", b"not json\n", b"[1]\n", b"{" * 70_000])
def test_nonsense_gets_no_answer_and_stops_nothing(here: Project, said: bytes):
    with answering(here.socket_path("control"), lambda request: {"op": request["op"]}, times=2):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(here.socket_path("control")))
            caller.sendall(said)
            caller.shutdown(socket.SHUT_WR)
            caller.settimeout(5)
            try:
                caller.recv(100)
            except ConnectionResetError:
                pass
        assert send_request(here, {"op": "status"}) == {"op": "status"}


def test_a_caller_that_speaks_in_drops_holds_the_supervisor_up_for_no_longer_than_a_silent_one(here: Project):
    with answering(here.socket_path("control"), lambda request: {"op": request["op"]}, times=2, seconds=0.2):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(here.socket_path("control")))
            caller.settimeout(5)
            # The door's end shows as something to read.
            for _ in range(300):
                if select.select([caller], [], [], 0.01)[0]:
                    break
                caller.sendall(b" ")
            assert caller.recv(1) == b""
        assert send_request(here, {"op": "status"}) == {"op": "status"}


def test_a_request_that_is_no_object_is_told_what_may_be_asked(here: Project):
    with answering(here.socket_path("control"), lambda _: {}), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(os.fspath(here.socket_path("control")))
        caller.sendall(b"[1]\n")
        told = json.loads(caller.recv(4096))
    assert told["error"] == Refused.slug
    assert told["fix"] == "ask status, stop, restart, credential or enrol"


def test_without_a_supervisor_it_says_what_to_run(here: Project):
    with pytest.raises(Unavailable) as told:
        request_credential(here, "worker")
    assert told.value.fix == "run `wellspring up`"

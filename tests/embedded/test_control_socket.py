"""The control socket serves the project's owner and root only."""

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

from tests.builders import projects, sockets
from wellspring.embedded import control_socket
from wellspring.embedded.control_socket import REQUEST_FIX, ControlSocket, send_request
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        sockets.create_socket_folders(project)
        yield project


@contextmanager
def served(
    path: Path, handle: Any, *, times: int = 1, seconds: float = 2, refusals: list[tuple[int, Refused]] | None = None
) -> Iterator[ControlSocket]:
    refusals = [] if refusals is None else refusals
    control = ControlSocket(path, handle, on_refusal=lambda *refusal: refusals.append(refusal), timeout=seconds)

    def serve() -> None:
        for _ in range(times):
            control.serve_one()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield control
        thread.join(60)
    finally:
        control.close()


def test_a_request_is_answered(project: Project):
    with served(project.socket_path("control"), lambda request: {"heard": request}):
        assert send_request(project, {"op": "status"}) == {"heard": {"op": "status"}}
    assert project.socket_path("control").stat().st_mode & 0o777 == 0o600


def test_an_error_keeps_its_type_message_and_fix(project: Project):
    def handle(_: dict[str, Any]) -> dict[str, Any]:
        raise NotFound("no such thing", fix="look elsewhere")

    with (
        served(project.socket_path("control"), handle),
        pytest.raises(NotFound, match="no such thing") as result,
    ):
        send_request(project, {"op": "x"})
    assert result.value.fix == "look elsewhere"


def test_a_caller_who_is_not_the_owner_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch):
    heard: list[Any] = []
    monkeypatch.setattr(control_socket, "peer_uid", lambda _: 64103)
    refusals: list[tuple[int, Refused]] = []
    with served(project.socket_path("control"), lambda request: heard.append(request) or {}, refusals=refusals):
        with pytest.raises(Refused, match="uid 64103"):
            send_request(project, {"op": "credential", "role": "enclave"})
    assert heard == []
    assert [uid for uid, _ in refusals] == [64103]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_connect(project: Project):
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    for folder in (project.runtime_dir, project.socket_path("control").parent):
        folder.chmod(0o711)
    with served(project.socket_path("control"), lambda _: {}, times=0):
        result = subprocess.run(
            ["setpriv", "--reuid", "64103", "--regid", "64103", "--clear-groups", sys.executable, "-S", "-c", code,
             str(project.socket_path("control"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert result.returncode != 0


@pytest.mark.parametrize("output", [b"", b"\n", b"not json\n", b"[1]\n", b"{" * 70_000])
def test_invalid_input_gets_no_response_and_the_next_request_works(project: Project, output: bytes):
    with served(project.socket_path("control"), lambda request: {"op": request["op"]}, times=2):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(project.socket_path("control")))
            caller.sendall(output)
            caller.shutdown(socket.SHUT_WR)
            caller.settimeout(60)
            try:
                caller.recv(100)
            except ConnectionResetError:
                pass
        assert send_request(project, {"op": "status"}) == {"op": "status"}


def test_a_client_that_sends_byte_by_byte_is_disconnected_at_the_timeout(project: Project):
    with served(project.socket_path("control"), lambda request: {"op": request["op"]}, times=2, seconds=0.2):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(project.socket_path("control")))
            caller.settimeout(60)
            # A closed connection becomes readable.
            for _ in range(300):
                if select.select([caller], [], [], 0.01)[0]:
                    break
                caller.sendall(b" ")
            assert caller.recv(1) == b""
        assert send_request(project, {"op": "status"}) == {"op": "status"}


def test_a_request_that_is_not_an_object_gets_the_list_of_operations(project: Project):
    with served(project.socket_path("control"), lambda _: {}), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(os.fspath(project.socket_path("control")))
        caller.sendall(b"[1]\n")
        result = json.loads(caller.recv(4096))
    assert result["error"]["slug"] == Refused.slug
    assert result["error"]["fix"] == REQUEST_FIX


def test_without_a_supervisor_the_error_names_the_command(project: Project):
    with pytest.raises(Unavailable) as result:
        send_request(project, {"op": "status"})
    assert result.value.fix == "run `wellspring up`"

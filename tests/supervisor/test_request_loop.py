"""The loop answers requests, looks at the refusals of OpenBao, and ends with a request to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import projects, sockets
from wellspring.embedded.control_socket import ControlSocket, send_request
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.supervisor.monitor import MonitorSettings
from wellspring.supervisor.request_loop import serve_requests
from wellspring.supervisor.stop_signals import StopRequested


class ScriptedSupervisor:
    """Every part that the loop uses; counts its turns."""

    def __init__(self) -> None:
        self.turns = self.looks = self.renewals = 0
        self.credentials = self

    def watch_servers(self, *_: object) -> ScriptedSupervisor:
        return self

    def watch_logins(self) -> ScriptedSupervisor:
        return self

    def record_new(self) -> None:
        self.looks += 1

    def advance(self) -> None:
        self.turns += 1

    def next_due(self) -> float:
        return float("inf")

    def watch_in(self, *_: object) -> int:
        return -1

    def rotate_mlflow_certs(self) -> None:
        self.renewals += 1

    def handle_request(self, request: dict[str, Any]) -> dict[str, Any]:
        if request == {"op": "stop"}:
            raise StopRequested
        return {"heard": request}


@pytest.fixture
def project() -> Iterator[Project]:
    handler = signal.getsignal(signal.SIGCHLD)
    with projects.create_project() as project:
        sockets.create_socket_folders(project)
        yield project
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, handler)


def test_requests_are_answered_until_a_stop_and_refusals_are_sought_in_each_turn(project: Project):
    supervisor: Any = ScriptedSupervisor()
    control = ControlSocket(project.socket_path("control"), supervisor.handle_request, on_refusal=lambda *_: None)
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        answers.append(send_request(project, {"op": "status"}))
        with pytest.raises(Unavailable):
            send_request(project, {"op": "stop"})

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(StopRequested):
        serve_requests(supervisor, control, MonitorSettings())
    control.close()
    thread.join(60)
    assert answers == [{"heard": {"op": "status"}}]
    assert supervisor.looks == supervisor.turns == 2
    assert supervisor.renewals == 1
    assert not thread.is_alive()

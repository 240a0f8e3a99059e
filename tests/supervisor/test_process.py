"""The supervisor's requests, and its reaction to a server that exits."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded import mlflow
from wellspring.embedded.control_socket import send_request
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.runtime.run_state import read_run_state
from wellspring.supervisor import client
from wellspring.supervisor.managed_process import is_same_process, wait_for_exit
from wellspring.supervisor.process import Supervisor


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with projects.running_project() as project:
        yield project


@pytest.mark.live
def test_status_lists_every_server(project: Project):
    running = read_run_state(project)
    assert running is not None
    assert send_request(project, {"op": "status"})["servers"] == dict.fromkeys(running.servers, True)


@pytest.mark.live
@pytest.mark.parametrize(
    "request_",
    [
        {"op": "nothing"},
        {"role": "worker"},
        {"op": "credential", "role": "supervisor"},
        # Only the supervisor starts an API process and passes it a credential.
        {"op": "credential", "role": "api"},
        {"op": "restart"},
        {"op": "enroll", "name": "ines"},
    ],
)
def test_an_unknown_request_is_refused(project: Project, request_: dict[str, str]):
    with pytest.raises(Refused) as result:
        send_request(project, request_)
    assert result.value.fix == "send one of: status, stop, restart, credential, enroll"


def test_enrollment_before_the_servers_are_ready_is_refused():
    with projects.create_project() as project, pytest.raises(Unavailable, match="not ready"):
        Supervisor(project, lambda _: None).handle_request(
            {"op": "enroll", "name": "ines", "password": "long enough to be one"}
        )


def test_mlflow_is_restarted_only_when_its_certificates_expire_soon(monkeypatch: pytest.MonkeyPatch):
    with projects.create_project(sections='[models]\nfolder = "models"\n') as project:
        supervisor, restarted = Supervisor(project, lambda _: None), list[str]()
        monkeypatch.setattr(supervisor, "restart_process", restarted.append)
        for aged, expected in ((False, []), (True, ["mlflow"])):
            monkeypatch.setattr(mlflow, "certificates_expiring", lambda *_, result=aged: result)
            supervisor.rotate_mlflow_certs()
            assert restarted == expected


@pytest.mark.live
def test_a_server_that_exits_is_logged_and_the_others_keep_running(project: Project):
    running = client.start_servers(project)
    os.kill(running.servers["sftp"].pid, signal.SIGKILL)
    assert wait_for_exit(running.servers["sftp"], 5)
    log, pause = project.state_dir / "logs/supervisor.log", threading.Event()
    for _ in range(200):
        if "sftp exited" in log.read_text():
            break
        pause.wait(0.02)
    assert "sftp exited" in log.read_text()
    assert is_same_process(running.servers["openbao"])
    assert send_request(project, {"op": "status"})["servers"]["sftp"] is False


@pytest.mark.live
def test_a_signal_stops_the_supervisor_gracefully(project: Project):
    running = client.start_servers(project)
    os.kill(running.supervisor.pid, signal.SIGTERM)
    assert wait_for_exit(running.supervisor, 30)
    assert not any(is_same_process(server) for server in running.servers.values())
    assert not project.runtime_dir.exists()
    assert not (project.state_dir / "run.json").exists()
    with pytest.raises(Unavailable):
        send_request(project, {"op": "status"})

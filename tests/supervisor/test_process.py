"""The supervisor's loop: what it answers, and what it does when a server ends by itself."""

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
from wellspring.supervisor import client
from wellspring.supervisor.managed_process import is_same_process, wait_for_exit
from wellspring.supervisor.process import Supervisor


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with projects.running_project() as project:
        yield project


@pytest.mark.live
def test_status_is_answered(project: Project):
    running = project.read_run_state()
    assert running is not None
    assert send_request(project, {"op": "status"})["servers"] == dict.fromkeys(running.servers, True)


@pytest.mark.live
@pytest.mark.parametrize(
    "request_",
    [
        {"op": "nothing"},
        {"role": "worker"},
        {"op": "credential", "role": "supervisor"},
        # Only the supervisor itself starts an API, and hands it what it logs in with.
        {"op": "credential", "role": "api"},
        {"op": "restart"},
        {"op": "enroll", "name": "ines"},
    ],
)
def test_an_unknown_request_is_refused(project: Project, request_: dict[str, str]):
    with pytest.raises(Refused) as result:
        send_request(project, request_)
    assert result.value.fix == "ask status, stop, restart, credential or enrol"


def test_nobody_is_enrolled_before_the_servers_are_ready():
    with projects.create_project() as project, pytest.raises(Unavailable, match="not ready"):
        Supervisor(project, lambda _: None).handle_request(
            {"op": "enroll", "name": "ines", "password": "long enough to be one"}
        )


def test_mlflow_is_started_again_only_when_its_certificates_grow_old(monkeypatch: pytest.MonkeyPatch):
    with projects.create_project(sections='[models]\nfolder = "models"\n') as project:
        supervisor, restarted = Supervisor(project, lambda _: None), list[str]()
        monkeypatch.setattr(supervisor, "restart_process", restarted.append)
        for aged, expected in ((False, []), (True, ["mlflow"])):
            monkeypatch.setattr(mlflow, "certificates_expiring", lambda *_, result=aged: result)
            supervisor.rotate_mlflow_certs()
            assert restarted == expected


@pytest.mark.live
def test_a_server_that_ends_by_itself_is_logged_and_the_others_stay(project: Project):
    running = client.start_servers(project)
    os.kill(running.servers["sftp"].pid, signal.SIGKILL)
    assert wait_for_exit(running.servers["sftp"], 5)
    log, pause = project.state_dir / "logs/supervisor.log", threading.Event()
    for _ in range(200):
        if "sftp ended by itself" in log.read_text():
            break
        pause.wait(0.02)
    assert "sftp ended by itself" in log.read_text()
    assert is_same_process(running.servers["openbao"])
    assert send_request(project, {"op": "status"})["servers"]["sftp"] is False


@pytest.mark.live
def test_a_signal_ends_it_as_gracefully_as_down(project: Project):
    running = client.start_servers(project)
    os.kill(running.supervisor.pid, signal.SIGTERM)
    assert wait_for_exit(running.supervisor, 30)
    assert not any(is_same_process(server) for server in running.servers.values())
    assert not project.runtime_dir.exists()
    assert not (project.state_dir / "run.json").exists()
    with pytest.raises(Unavailable):
        send_request(project, {"op": "status"})

"""The supervisor's requests, and its reaction to a server that exits."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded import mlflow
from wellspring.embedded.control_socket import REQUEST_FIX, send_request
from wellspring.errors import Refused, Unavailable
from wellspring.operations.incidents import list_recent_incidents
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor import client
from wellspring.supervisor.managed_process import ManagedProcess, is_same_process, wait_for_exit
from wellspring.supervisor.process import Supervisor
from wellspring.trust.vault.remote import EnclaveClient


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
        # Credentials are handed to the processes that the supervisor starts, and nobody can ask for one.
        {"op": "credential", "role": "api"},
        {"op": "credential", "role": "worker"},
        {"op": "credential", "role": "enclave"},
        {"op": "restart"},
        {"op": "start"},
        {"op": "enroll", "name": "ines"},
    ],
)
def test_an_unknown_request_is_refused(project: Project, request_: dict[str, str]):
    with pytest.raises(Refused) as result:
        send_request(project, request_)
    assert result.value.fix == REQUEST_FIX


def test_enrollment_before_the_servers_are_ready_is_refused():
    with projects.create_project() as project, pytest.raises(Unavailable, match="not ready"):
        Supervisor(project, lambda _: None).handle_request(
            {"op": "enroll", "name": "ines", "password": "long enough to be one"}
        )


def test_mlflow_is_restarted_only_if_it_does_not_take_renewed_certificates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_: object) -> None:
        raise Unavailable("MLflow does not use its new certificate", fix="restart it")

    with projects.create_project(sections='[models]\nfolder = "models"\n') as project:
        supervisor, calls = Supervisor(project, lambda _: None), list[str]()
        argv = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
        child = ManagedProcess("mlflow", "mlflow", argv, lambda: True, "1", project.root / "log", port=1)
        supervisor.children.append(child)
        monkeypatch.setattr(supervisor, "restart_process", calls.append)
        monkeypatch.setattr(mlflow, "renew_certificates", lambda *_: calls.append("renewed"))
        for aged, alive, expected in ((False, True, []), (True, False, []), (True, True, ["renewed"])):
            monkeypatch.setattr(mlflow, "certificates_expiring", lambda *_, result=aged: result)
            if alive:
                child.start(argv, {})
            supervisor.rotate_mlflow_certs()
            assert calls == expected
            child.stop()
        child.start(argv, {})
        monkeypatch.setattr(mlflow, "renew_certificates", fail)
        supervisor.rotate_mlflow_certs()
        assert calls == ["renewed", "mlflow"]
        assert "mlflow is restarted with new certificates" in capsys.readouterr().err
        child.stop()


def wait_for_state(project: Project, server: str, state: str) -> None:
    """Wait until the supervisor reports a state of a server; it must answer all the time."""
    pause = threading.Event()
    for _ in range(3000):
        if send_request(project, {"op": "status"}, timeout=30)["states"][server] == state:
            return
        pause.wait(0.02)
    raise AssertionError(f"{server} is not {state}")


@pytest.mark.live
def test_a_killed_server_is_restarted_with_a_new_credential_and_the_others_keep_running(project: Project):
    running = client.start_servers(project)
    for name in running.servers:
        os.kill(running.servers[name].pid, signal.SIGKILL)
        wait_for_state(project, name, "waiting")
        wait_for_state(project, name, "up")
        again = read_run_state(project)
        assert again is not None
        assert is_same_process(again.servers[name])
        assert {server: again.servers[server] for server in running.servers if server != name} == {
            server: running.servers[server] for server in running.servers if server != name
        }
        running = again
        # A request of the enclave reads OpenBao and PostgreSQL: it works on after a restart of either.
        assert EnclaveClient(find_server_socket(project, "intake")).count_quarantined() == ()
    incidents = list_recent_incidents(project, SystemClock().now())
    assert sorted(item.subject for item in incidents) == sorted(f"server:{name}" for name in running.servers)
    assert {item.state for item in incidents} == {"healed"}
    assert "ended by signal 9" in (project.state_dir / "logs/supervisor.log").read_text()


@pytest.mark.live
def test_up_does_not_wait_for_the_restart(project: Project):
    running = client.start_servers(project)
    os.kill(running.servers["sftp"].pid, signal.SIGKILL)
    assert wait_for_exit(running.servers["sftp"], 5)
    again = client.start_servers(project)
    assert again.supervisor == running.supervisor
    assert is_same_process(again.servers["sftp"])
    assert {row.state for row in client.list_server_status(project)} == {"up"}


HANGING = """
import sys
from pathlib import Path
from wellspring.project import load_project
from wellspring.supervisor.monitor import MonitorSettings
from wellspring.supervisor.process import run_supervisor
settings = MonitorSettings(probe_interval=0.2, failed_probes=2)
run_supervisor(load_project(Path(sys.argv[1])), lambda message: print(message, flush=True), settings)
"""


@pytest.mark.live
@pytest.mark.slow
def test_a_server_that_hangs_is_killed_and_restarted(project: Project):
    client.stop_servers(project)
    argv = [sys.executable, "-c", HANGING, str(project.root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert any("'up'" in line for line in iter(supervisor.stdout.readline, ""))
        wait_for_state(project, "witness", "up")
        running = read_run_state(project)
        assert running is not None
        os.kill(running.servers["witness"].pid, signal.SIGSTOP)
        wait_for_state(project, "witness", "waiting")
        wait_for_state(project, "witness", "up")
        assert not is_same_process(running.servers["witness"])
        assert client.stop_servers(project)
    (incident,) = [item for item in list_recent_incidents(project, SystemClock().now()) if item.code == "hung"]
    assert (incident.subject, incident.state) == ("server:witness", "healed")


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

"""The supervisor's loop: what it answers, and what it does when a server ends by itself."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.servers import houses
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.servers import mlflow, supervisor
from wellspring.servers.children import lives, wait_gone
from wellspring.servers.control import ask
from wellspring.servers.watch import House


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with houses.house() as project:
        yield project


@pytest.mark.live
def test_status_is_answered(here: Project):
    running = here.running()
    assert running is not None
    assert ask(here, {"op": "status"})["servers"] == dict.fromkeys(running.servers, True)


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
        {"op": "enrol", "name": "ines"},
    ],
)
def test_an_unknown_request_is_refused(here: Project, request_: dict[str, str]):
    with pytest.raises(Refused) as told:
        ask(here, request_)
    assert told.value.fix == "ask status, stop, restart, credential or enrol"


def test_nobody_is_enrolled_before_the_servers_are_ready():
    with houses.project() as project, pytest.raises(Unavailable, match="not ready"):
        House(project, lambda _: None).answer({"op": "enrol", "name": "ines", "password": "long enough to be one"})


def test_mlflow_is_started_again_only_when_its_certificates_grow_old(monkeypatch: pytest.MonkeyPatch):
    with houses.project(sections='[models]\nfolder = "models"\n') as project:
        house, restarted = House(project, lambda _: None), list[str]()
        monkeypatch.setattr(house, "restart", restarted.append)
        for aged, expected in ((False, []), (True, ["mlflow"])):
            monkeypatch.setattr(mlflow, "is_aged", lambda *_, told=aged: told)
            house.renew()
            assert restarted == expected


@pytest.mark.live
def test_a_server_that_ends_by_itself_is_logged_and_the_others_stay(here: Project):
    running = supervisor.up(here)
    os.kill(running.servers["sftp"].pid, signal.SIGKILL)
    assert wait_gone(running.servers["sftp"], 5)
    log, pause = here.state / "logs/supervisor.log", threading.Event()
    for _ in range(200):
        if "sftp ended by itself" in log.read_text():
            break
        pause.wait(0.02)
    assert "sftp ended by itself" in log.read_text()
    assert lives(running.servers["openbao"])
    assert ask(here, {"op": "status"})["servers"]["sftp"] is False


@pytest.mark.live
def test_a_signal_ends_it_as_gracefully_as_down(here: Project):
    running = supervisor.up(here)
    os.kill(running.supervisor.pid, signal.SIGTERM)
    assert wait_gone(running.supervisor, 30)
    assert not any(lives(server) for server in running.servers.values())
    assert not here.runtime.exists()
    assert not (here.state / "run.json").exists()
    with pytest.raises(Unavailable):
        ask(here, {"op": "status"})

"""The monitor on real processes with an injected clock: restarts, hangs, limits, dependencies, and their incidents."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.errors import Unavailable
from wellspring.operations.incidents import IncidentStore, list_all_incidents
from wellspring.project import Project, load_project
from wellspring.records.incidents import Incident
from wellspring.supervisor.managed_process import ManagedProcess
from wellspring.supervisor.monitor import MonitorSettings, ServerMonitor
from wellspring.supervisor.restarts import RestartPolicy

SLEEP = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
SETTINGS = MonitorSettings(probe_interval=10.0, failed_probes=3, ready_timeout=60.0, restarts=RestartPolicy(limit=2))


class MonotonicInstants:
    """A clock that moves with the monotonic clock of a fixture."""

    def __init__(self, servers: Fixture) -> None:
        self._servers = servers

    def now(self) -> datetime:
        return datetime(2026, 11, 25, tzinfo=UTC) + timedelta(seconds=self._servers.now)


class Fixture:
    """Two servers, `keys` and `app`, which needs `keys`; the clock moves only when a test moves it."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.now = 1000.0
        self.healthy = {"keys": True, "app": True}
        self.start_errors: list[Unavailable] = []
        self.children = {
            name: ManagedProcess(
                name=name, service="worker", argv=SLEEP, version="1", log_path=folder / f"{name}.log",
                readiness_probe=lambda name=name: self.healthy[name], needs=needs,
            )
            for name, needs in (("keys", ()), ("app", ("keys",)))
        }  # fmt: skip
        for child in self.children.values():
            child.start(SLEEP, {})
        self.woken = threading.Event()
        clock = MonotonicInstants(self)
        self.step = RecordingStep(clock=clock, tenant="acme", service="supervisor")
        self.incidents = IncidentStore(project, "supervisor", step=self.step, clock=clock)
        self.completed: list[str] = []
        self.monitor = ServerMonitor(
            list(self.children.values()), self, self.incidents,
            wake=self.woken.set, settings=SETTINGS, clock=lambda: self.now,
        )  # fmt: skip

    def begin_start(self, child: ManagedProcess) -> None:
        if self.start_errors:
            raise self.start_errors.pop()
        child.start(SLEEP, {})

    def complete_start(self, child: ManagedProcess) -> None:
        self.completed.append(child.name)

    def kill(self, name: str) -> None:
        self.children[name].kill()

    def advance_until(self, condition: Callable[[], bool]) -> None:
        """Advance, without moving the clock, until a condition holds; wait for probes only."""
        for _ in range(1200):
            self.woken.clear()
            self.monitor.advance()
            if condition():
                return
            self.woken.wait(0.05)
        raise AssertionError(f"{self.monitor.states()}")

    def move_and_advance(self, seconds: float) -> None:
        """Move the clock, advance, and wait for the probes that became due."""
        self.now += seconds
        for _ in range(3):
            self.woken.clear()
            self.monitor.advance()
            self.woken.wait(0.05)

    def state(self, name: str) -> str:
        return self.monitor.states()[name]

    def list_incidents(self) -> list[Incident]:
        return list_all_incidents(self.project)

    def close(self) -> None:
        self.monitor.close()
        for child in self.children.values():
            child.stop()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Fixture]:
    (tmp_path / "wellspring.toml").write_text('[project]\nname = "shop"\ntenant = "acme"\n[sources]\n')
    project = load_project(tmp_path)
    (project.incidents_dir / "history").mkdir(parents=True)
    fixture = Fixture(project, tmp_path)
    yield fixture
    fixture.close()


def test_a_server_that_exits_is_restarted_after_the_first_delay_and_its_incident_heals(servers: Fixture):
    before = servers.children["app"].process
    servers.kill("app")
    servers.monitor.advance()
    assert servers.state("app") == "waiting"
    assert servers.monitor.next_due() == servers.now + 0.5
    servers.move_and_advance(0.4)
    assert servers.children["app"].process is before
    servers.now += 0.1
    servers.advance_until(lambda: servers.state("app") == "up")
    assert servers.children["app"].process is not before
    assert servers.completed == ["app"]
    (incident,) = servers.list_incidents()
    assert (incident.subject, incident.code, incident.state) == ("server:app", "exited", "healed")
    assert incident.text == "app was ended by signal 9"
    assert [(act.what, act.result) for act in incident.acts] == [("restart", "ready")]


def test_a_server_that_answers_no_probe_is_killed_and_restarted(servers: Fixture):
    process = servers.children["keys"].process
    assert process is not None
    servers.healthy["keys"] = False
    for _ in range(SETTINGS.failed_probes):
        assert servers.state("keys") == "up"
        servers.move_and_advance(SETTINGS.probe_interval)
    assert servers.state("keys") == "waiting"
    assert process.poll() == -9
    servers.healthy["keys"] = True
    servers.now += 0.5
    servers.advance_until(lambda: servers.state("keys") == "up")
    (incident,) = servers.list_incidents()
    assert (incident.code, incident.state) == ("hung", "healed")


def test_a_single_failed_probe_changes_nothing(servers: Fixture):
    servers.healthy["keys"] = False
    servers.move_and_advance(SETTINGS.probe_interval)
    servers.healthy["keys"] = True
    for _ in range(SETTINGS.failed_probes + 1):
        servers.move_and_advance(SETTINGS.probe_interval)
    assert servers.state("keys") == "up"
    assert servers.list_incidents() == []


def test_after_the_limit_a_server_stays_down_and_its_incident_says_so(servers: Fixture):
    for _ in range(3):
        servers.kill("app")
        servers.monitor.advance()
        servers.now += 2.0
        servers.advance_until(lambda: servers.state("app") in ("up", "down"))
    assert servers.state("app") == "down"
    last = servers.list_incidents()[-1]
    assert (last.state, last.severity) == ("open", "critical")
    assert [(act.what, act.result) for act in last.acts] == [("stop_restarting", "limit_reached")]
    servers.move_and_advance(300.0)
    assert servers.state("app") == "down"
    # A person restarts it: the incident heals, and the restarts are counted from the beginning.
    servers.begin_start(servers.children["app"])
    servers.monitor.resume_server(servers.children["app"])
    assert servers.list_incidents()[-1].state == "healed"
    servers.kill("app")
    servers.monitor.advance()
    assert servers.monitor.next_due() == servers.now + 0.5


def test_a_server_waits_for_the_servers_that_it_needs(servers: Fixture):
    servers.kill("keys")
    servers.kill("app")
    servers.healthy["keys"] = False
    servers.now += 1.0
    servers.monitor.advance()
    servers.now += 1.0
    servers.advance_until(lambda: servers.state("keys") == "starting")
    assert servers.state("app") == "waiting"
    servers.healthy["keys"] = True
    servers.now += 1.0
    servers.advance_until(lambda: servers.state("keys") == "up")
    servers.now += 1.0
    servers.advance_until(lambda: servers.state("app") == "up")
    assert {incident.state for incident in servers.list_incidents()} == {"healed"}


def test_a_restart_that_fails_is_an_act_of_the_same_incident(servers: Fixture):
    servers.start_errors.append(Unavailable("no credential", fix="wait"))
    servers.kill("app")
    servers.monitor.advance()
    servers.now += 0.5
    servers.monitor.advance()
    assert servers.state("app") == "waiting"
    assert servers.monitor.next_due() == servers.now + 1.0
    servers.now += 1.0
    servers.advance_until(lambda: servers.state("app") == "up")
    (incident,) = servers.list_incidents()
    assert [(act.what, act.result) for act in incident.acts] == [("restart", "not_started"), ("restart", "ready")]


def test_a_restarted_server_that_is_not_ready_in_time_is_killed(servers: Fixture):
    servers.kill("app")
    servers.healthy["app"] = False
    servers.monitor.advance()
    servers.now += 0.5
    servers.advance_until(lambda: servers.state("app") == "starting")
    servers.move_and_advance(SETTINGS.ready_timeout + 1)
    servers.move_and_advance(1)
    assert servers.state("app") in ("waiting", "starting")
    (incident,) = servers.list_incidents()
    assert [(act.what, act.result) for act in incident.acts] == [("restart", "not_ready")]


def test_incidents_of_a_killed_supervisor_heal_when_all_servers_are_ready(servers: Fixture):
    servers.kill("app")
    servers.monitor.advance()
    assert servers.list_incidents()[0].state == "open"
    servers.children["app"].start(SLEEP, {})
    again = ServerMonitor(
        list(servers.children.values()), servers, servers.incidents,
        wake=servers.woken.set, settings=SETTINGS, clock=lambda: servers.now,
    )  # fmt: skip
    again.close()
    (incident,) = servers.list_incidents()
    assert incident.state == "healed"
    assert [(act.what, act.result) for act in incident.acts] == [("start", "ready")]


def test_a_journal_that_cannot_be_written_keeps_no_server_down(servers: Fixture, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise Unavailable("the journal cannot be written", fix="free disk space")

    monkeypatch.setattr(servers.incidents, "open_incident", refuse)
    servers.kill("app")
    servers.monitor.advance()
    servers.now += 0.5
    servers.advance_until(lambda: servers.state("app") == "up")

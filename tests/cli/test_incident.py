"""The `incident` commands, without a running server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.command_line import Run
from tests.builders.recording_step import RecordingStep
from wellspring.operations.incidents import IncidentCause, IncidentStore
from wellspring.project import load_project
from wellspring.records.clock import SystemClock
from wellspring.records.incidents import Incident


@pytest.fixture
def store(root: Path) -> IncidentStore:
    project = load_project(root)
    (project.incidents_dir / "history").mkdir(parents=True)
    return IncidentStore(project, "supervisor", step=RecordingStep(service="supervisor"), clock=SystemClock())


@pytest.fixture
def first_incident(store: IncidentStore) -> Incident:
    incident = store.open_incident("server:api", IncidentCause("exited", "api exited with code 1"))
    return store.add_act(incident.id, "restart", "not_ready")


def test_without_incidents_the_list_is_empty(run: Run, root: Path):
    assert run("incident", "list", "--json", "--project", root).document == []
    assert "no open incident" in run("incident", "list", "--project", root).out


def test_list_shows_open_and_recently_healed_incidents(
    run: Run, root: Path, store: IncidentStore, first_incident: Incident
):
    healed = store.open_incident("server:sftp", IncidentCause("hung", "sftp failed 6 probes in a row"))
    store.heal_incident(healed.id)
    output = run("incident", "list", "--project", root)
    assert output.out.index(first_incident.id) < output.out.index(healed.id)
    assert output.out.splitlines()[-1] == f"next: wellspring incident show {first_incident.id} --project {root}" or (
        f"incident show {first_incident.id}" in output.out
    )
    states = {item["id"]: item["state"] for item in run("incident", "list", "--json", "--project", root).document}
    assert states == {first_incident.id: "open", healed.id: "healed"}


def test_show_prints_the_acts_and_the_next_command(run: Run, root: Path, first_incident: Incident):
    output = run("incident", "show", first_incident.id, "--project", root)
    assert output.code == 0
    assert "not_ready" in output.out
    assert "restart api" in output.out.splitlines()[-1]
    assert (
        run("incident", "show", first_incident.id, "--json", "--project", root).document["acts"][0]["what"] == "restart"
    )


def test_an_unknown_incident_is_not_found(run: Run, root: Path, first_incident: Incident):
    output = run("incident", "show", f"{first_incident.id[:-1]}x", "--project", root)
    assert output.code == 66
    assert first_incident.id in output.err


def test_status_shows_incidents(run: Run, root: Path, first_incident: Incident):
    output = run("status", "--json", "--project", root)
    assert [item["id"] for item in output.document["incidents"]] == [first_incident.id]
    assert "api exited with code 1" in run("status", "--project", root).out

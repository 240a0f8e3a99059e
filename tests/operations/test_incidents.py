"""Incidents: opened once, changed by entries first, and built again from the entries alone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import projects
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.embedded import layout
from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.operations.incidents import (
    IncidentCause,
    IncidentStore,
    get_incident,
    list_all_incidents,
    list_recent_incidents,
    rebuild_incidents,
    restore_incidents,
)
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges

EXITED = IncidentCause("exited", "enclave exited with code 1")


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        project.state_dir.mkdir()
        layout.create_folders(project, detect_privileges(project))
        yield project


def open_store(project: Project, service: str = "supervisor") -> tuple[IncidentStore, RecordingStep, FixedClock]:
    clock = FixedClock()
    step = RecordingStep(clock=clock, tenant=project.tenant, service=service)
    return IncidentStore(project, service, step=step, clock=clock), step, clock


def test_an_incident_is_opened_acted_on_and_healed(project: Project):
    store, step, clock = open_store(project)
    first_incident = store.open_incident("server:enclave", EXITED)
    assert (first_incident.state, first_incident.severity, first_incident.tenant) == ("open", "warning", project.tenant)
    clock.pass_(seconds=2)
    store.add_act(first_incident.id, "restart", "ready", severity="critical")
    clock.pass_(seconds=3)
    healed = store.heal_incident(first_incident.id)
    assert healed == get_incident(project, first_incident.id)
    assert (healed.state, healed.healed_at, healed.severity) == ("healed", clock.now(), "critical")
    assert clock.now() - healed.opened_at == timedelta(seconds=5)
    assert [(act.what, act.result) for act in healed.acts] == [("restart", "ready")]
    assert [entry.action for entry in step.entries] == ["open_incident", "act_on_incident", "heal_incident"]
    assert {entry.subject for entry in step.entries} == {f"incident:{first_incident.id}"}


def test_a_second_opening_with_the_same_cause_returns_the_first(project: Project):
    store, _, _ = open_store(project)
    first = store.open_incident("server:enclave", EXITED)
    assert store.open_incident("server:enclave", EXITED) == first
    assert store.open_incident("server:api", EXITED).id != first.id
    assert store.open_incident("server:enclave", IncidentCause("hung", "enclave hangs")).id != first.id
    # Another service does not change the incidents of this one.
    worker_store, _, _ = open_store(project, "worker")
    assert worker_store.open_incident("server:enclave", EXITED).id != first.id
    with pytest.raises(NotFound):
        worker_store.heal_incident(first.id)


def test_the_owner_of_the_project_is_in_the_record(project: Project):
    path = project.root / "wellspring.toml"
    path.write_text(path.read_text().replace("[project]\n", '[project]\nowner = "data-platform"\n'))
    store, _, _ = open_store(projects.load_project(project.root))
    assert store.open_incident("server:enclave", EXITED).owner == "data-platform"


def test_incidents_healed_more_than_a_day_ago_leave_the_folder_that_status_reads(project: Project):
    store, _, clock = open_store(project)
    ids: list[str] = []
    for _ in range(5):
        ids.append(store.open_incident("server:enclave", EXITED).id)
        store.heal_incident(ids[-1])
        clock.pass_(hours=25)
    still_open = store.open_incident("server:api", EXITED)
    assert list_recent_incidents(project, clock.now()) == [still_open]
    # The last healed one moves at the next healing.
    assert len(list(project.incidents_dir.glob("*.json"))) == 2
    assert [incident.id for incident in list_all_incidents(project)] == [*ids, still_open.id]


def test_a_damaged_file_is_reported_and_written_again_from_the_entries(project: Project):
    store, step, clock = open_store(project)
    incident = store.open_incident("server:enclave", EXITED)
    path = project.incidents_dir / f"{incident.id}.json"
    path.write_text("{")
    with pytest.raises(CorruptedError, match="is not an incident") as result:
        list_recent_incidents(project, clock.now())
    assert "incident restore" in result.value.fix
    path.unlink()
    assert restore_incidents(project, step.entries, clock.now()) == [incident]
    assert restore_incidents(project, step.entries, clock.now()) == []
    assert list_recent_incidents(project, clock.now()) == [incident]


def test_an_incident_that_cannot_be_written_is_in_the_ledger(project: Project, monkeypatch: pytest.MonkeyPatch):
    store, step, clock = open_store(project)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wellspring.operations.incidents.write_file", fail)
    with pytest.raises(Unavailable, match="the ledger has the incident"):
        store.open_incident("server:enclave", EXITED)
    monkeypatch.undo()
    assert len(restore_incidents(project, step.entries, clock.now())) == 1


ACTS = st.lists(st.tuples(st.sampled_from(["open", "act", "heal"]), st.integers(0, 3)), max_size=30)


@given(acts=ACTS)
def test_the_entries_alone_give_the_same_incidents(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
):
    root: Path = tmp_path_factory.mktemp("project")
    (root / "wellspring.toml").write_text('[project]\nname = "shop"\ntenant = "acme"\n[sources]\n')
    project = projects.load_project(root)
    (project.incidents_dir / "history").mkdir(parents=True)
    store, step, clock = open_store(project)
    for act, number in acts:
        clock.pass_(hours=5)
        subject = f"server:{number}"
        if act == "open":
            store.open_incident(subject, EXITED)
        for incident in store.list_open(subject):
            if act == "act":
                store.add_act(incident.id, "restart", "not_ready")
            elif act == "heal":
                store.heal_incident(incident.id)
    assert rebuild_incidents(step.entries) == list_all_incidents(project)

"""The first policies of a project are adopted when its worker starts; from then on they change by a release only."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.changes import ChangedProject
from tests.builders.recording_step import Died
from wellspring.errors import Unavailable
from wellspring.trust.changes.released_policies import ReleasedPolicies
from wellspring.worker import policy_adoption
from wellspring.worker.policy_adoption import PolicyAdoption

PERMIT = "permit (principal, action, resource);"


@pytest.fixture
def project(tmp_path: Path) -> ChangedProject:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.cedar").write_text(PERMIT)
    return ChangedProject(tmp_path / "changes")


def adoption(project: ChangedProject, folder: Path, integrate: Any = lambda: None) -> PolicyAdoption:
    settings: Any = SimpleNamespace(source_paths={"policies": folder / "policies"}, tenant="acme")
    index: Any = SimpleNamespace(list_entries=project.books.list_entries, list_open_intents=project.step.open_intents)
    return PolicyAdoption(
        settings,
        project.store,
        index,
        hold=lambda: nullcontext(project.fence),
        integrate=integrate,
        step=project.step,
        clock=project.step.clock,
    )


def test_the_first_policies_are_adopted_once_and_recorded(project: ChangedProject, tmp_path: Path):
    adopted = adoption(project, tmp_path).adopt()
    assert adopted is not None
    (tmp_path / "policies/a.cedar").write_text("// nothing is permitted")
    assert adoption(project, tmp_path).adopt() is None
    assert ReleasedPolicies(project.store, tmp_path / "policies", project.books).load().files == {"a.cedar": PERMIT}
    (entry,) = project.step.done("adopt")
    assert entry.outputs == (adopted.content_ref,)


def test_a_project_without_a_policy_adopts_nothing(project: ChangedProject, tmp_path: Path):
    (tmp_path / "policies/a.cedar").unlink()
    assert adoption(project, tmp_path).adopt() is None
    assert project.step.entries[2:] == []


def test_an_adoption_that_a_crash_interrupted_is_completed_at_the_next_start(project: ChangedProject, tmp_path: Path):
    project.step.die_at = "change.activate:applied"
    with pytest.raises(Died):
        adoption(project, tmp_path).adopt()
    project.step.die_at = None
    assert adoption(project, tmp_path).adopt() is None
    (entry,) = project.step.done("adopt")
    assert project.store.live_id("policy", "project") == entry.subject.removeprefix("release:")


def test_an_adoption_that_fails_is_tried_again(
    project: ChangedProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(policy_adoption, "RETRY_SECONDS", 0.001)
    attempts: list[int] = []

    def integrate() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise Unavailable("the sequencer did not answer", fix="wait")

    adoption(project, tmp_path, integrate).adopt_until(threading.Event())
    for thread in threading.enumerate():
        if thread.name == "policies":
            thread.join(10)
    assert len(project.step.done("adopt")) == 1
    assert capsys.readouterr().err.count("the sequencer did not answer") == 2
    stopped = threading.Event()
    stopped.set()
    attempts.clear()
    adoption(project, tmp_path, integrate).adopt_until(stopped)
    assert len(attempts) == 1

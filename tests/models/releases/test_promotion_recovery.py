"""Whatever goes wrong once the pointer has moved, pointer and ledger come together again, and one can go back."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders.approvals import release
from tests.builders.recording_step import Died
from tests.builders.released_model import Released
from tests.builders.rollbacks import go_back
from wellspring.errors import CorruptedError
from wellspring.models.releases.history import list_release_periods
from wellspring.models.releases.promotion import promote_release, recover_releases
from wellspring.models.releases.release_context import build_release_ref
from wellspring.models.releases.store import ReleaseStore
from wellspring.records.models import Release


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def shown(project: Released) -> str:
    """Name the release that MLflow shows."""
    live = project.mlflow.shown["denials"]
    return live.release if live is not None else ""


def test_promotion_of_the_live_release_synchronizes_mlflow_again(project: Released, monkeypatch: pytest.MonkeyPatch):
    release = project.train()
    project.approve(release)
    project.step.die_at = "release.promote:registry-synced"
    monkeypatch.setattr(project.mlflow, "reconcile", lambda model, live, challenger_run: ())
    with pytest.raises(Died):
        promote_release(release, "user:bo", project.project, step=project.step)
    project.step.die_at = None
    monkeypatch.undo()
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()
    promote_release(release, "user:bo", project.project, step=project.step)
    assert (shown(project), len(project.step.done("promote"))) == (release.id, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk"), CorruptedError("x", fix="y"), ValueError("x")])
def test_an_mlflow_error_never_separates_pointer_and_ledger(
    project: Released, error: BaseException, monkeypatch: pytest.MonkeyPatch
):
    first, second = project.released(1), project.train(2)
    project.approve(second)

    def fails(model: str, live: object, challenger_run: str | None) -> tuple[str, ...]:
        raise error

    monkeypatch.setattr(project.mlflow, "reconcile", fails)
    with pytest.raises(type(error)) if not isinstance(error, CorruptedError) else nullcontext():
        promote_release(second, "user:bo", project.project, step=project.step)
    assert [entry.phase for entry in project.step.entries if entry.action == "promote"][2:] == ["intent", "done"]
    monkeypatch.undo()
    assert go_back(project) == first


class FailingReleaseStore(ReleaseStore):
    """A pointer that moves, and then something goes wrong: an interrupt, or a folder that cannot be synced."""

    error: BaseException | None = None

    def set_live(self, release: Release) -> None:
        super().set_live(release)
        if self.error is not None:
            raise self.error


@pytest.fixture
def failing_store(project: Released) -> FailingReleaseStore:
    project.releases = FailingReleaseStore(project.folder / "models")
    return project.releases


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("folder")])
def test_recovery_completes_a_switch_that_failed_after_the_pointer_moved(
    project: Released, failing_store: FailingReleaseStore, error: BaseException
):
    first, second = project.released(1), project.train(2)
    project.approve(second)
    failing_store.error = error
    with pytest.raises(type(error)):
        promote_release(second, "user:bo", project.project, step=project.step)
    failing_store.error = None
    assert (project.releases.get_live("denials"), project.step.open_intents()) == (second, [])
    with pytest.raises(CorruptedError, match="but the ledger names"):
        promote_release(second, "user:bo", project.project, step=project.step)
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == (second,)
    settled = project.step.done("promote")[-1]
    assert settled.intent == [entry for entry in project.step.entries if entry.phase == "intent"][-1].id
    assert settled.facts == {"model": "denials", "previous_release": first.id, "user": "user:bo", "recovered": True}
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()
    failing_store.error = error
    with pytest.raises(type(error)):
        go_back(project)
    failing_store.error = None
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == (first,)
    assert [period.release for period in list_release_periods(project.books, "denials")] == [
        first.id,
        second.id,
        first.id,
    ]


def test_a_switch_that_failed_before_the_pointer_moved_is_left_alone(
    project: Released, monkeypatch: pytest.MonkeyPatch
):
    first, second = project.released(1), project.train(2)
    project.approve(second)
    monkeypatch.setattr(project.releases, "set_live", lambda release: [][0])
    with pytest.raises(IndexError):
        promote_release(second, "user:bo", project.project, step=project.step)
    monkeypatch.undo()
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()
    assert project.releases.get_live("denials") == first
    # It never went live, so it may yet.
    promote_release(second, "user:bo", project.project, step=project.step)
    assert go_back(project) == first


def test_recovery_does_not_complete_a_switch_that_the_ledger_contradicts(
    project: Released, failing_store: FailingReleaseStore
):
    project.released(1)
    second, third = project.train(2), project.train(3)
    project.approve(second)
    project.approve(third)
    failing_store.error = OSError("folder")
    with pytest.raises(OSError, match="folder"):
        promote_release(second, "user:bo", project.project, step=project.step)
    failed = project.step.entries[-1]
    project.books.change(failed, facts={**failed.facts, "previous_release": third.id})
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()


def test_recovery_of_a_model_leaves_the_switch_of_another_to_its_own_job(project: Released):
    arrivals = release(model="arrivals")
    project.releases.save(arrivals)
    facts: dict[str, JsonValue] = {"model": "arrivals", "previous_release": "", "user": "user:bo"}
    project.step.write(
        "promote",
        "intent",
        arrivals.subject,
        intent=None,
        inputs=[build_release_ref(arrivals)],
        outputs=(),
        facts=facts,
    )
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()
    assert (project.releases.get_live("arrivals"), len(project.step.open_intents())) == (None, 1)
    assert recover_releases("arrivals", project.step.open_intents(), project.project, step=project.step) == (arrivals,)
    assert (project.releases.get_live("arrivals"), project.step.open_intents()) == (arrivals, [])


def test_a_rollback_to_what_mlflow_cannot_show_is_whole(project: Released):
    first = project.released(1)
    project.released(2)
    (project.folder / "models/candidates" / f"{first.candidate}.json").write_bytes(b"{}")
    assert go_back(project) == first
    assert list_release_periods(project.books, "denials")[0].release == first.id

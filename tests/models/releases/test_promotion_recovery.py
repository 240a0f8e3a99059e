"""Whatever goes wrong once the pointer has moved, pointer and ledger come together again, and one can go back."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.builders.recording_step import Died
from tests.builders.released_model import Released
from tests.models.releases.test_promotion import go_back
from wellspring.errors import CorruptedError
from wellspring.models.releases.history import list_release_periods
from wellspring.models.releases.promotion import ReleaseStore, promote_release, recover_releases
from wellspring.records.models import Release


@pytest.fixture
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


def shown(house: Released) -> str:
    """Name the release that MLflow shows."""
    live = house.mlflow.shown["denials"]
    return live.release if live is not None else ""


def test_mlflow_is_told_again_of_what_was_live_before_it_was_told(house: Released, monkeypatch: pytest.MonkeyPatch):
    release = house.train()
    house.approve(release)
    house.step.die_at = "release.promote:registry-synced"
    monkeypatch.setattr(house.mlflow, "reconcile", lambda model, live: ())
    with pytest.raises(Died):
        promote_release(release, "user:bo", house.house, step=house.step)
    house.step.die_at = None
    monkeypatch.undo()
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == ()
    promote_release(release, "user:bo", house.house, step=house.step)
    assert (shown(house), len(house.step.done("promote"))) == (release.id, 1)


@pytest.mark.parametrize("wrong", [KeyboardInterrupt(), OSError("disk"), CorruptedError("x", fix="y"), ValueError("x")])
def test_what_goes_wrong_in_mlflow_never_parts_pointer_and_ledger(
    house: Released, wrong: BaseException, monkeypatch: pytest.MonkeyPatch
):
    first, second = house.released(1), house.train(2)
    house.approve(second)

    def fails(model: str, live: object) -> tuple[str, ...]:
        raise wrong

    monkeypatch.setattr(house.mlflow, "reconcile", fails)
    with pytest.raises(type(wrong)) if not isinstance(wrong, CorruptedError) else nullcontext():
        promote_release(second, "user:bo", house.house, step=house.step)
    assert [entry.phase for entry in house.step.entries if entry.action == "promote"][2:] == ["intent", "done"]
    monkeypatch.undo()
    assert go_back(house) == first


class Stumbling(ReleaseStore):
    """A pointer that moves, and then something goes wrong: an interrupt, or a folder that cannot be synced."""

    wrong: BaseException | None = None

    def point(self, release: Release) -> None:
        super().set_live(release)
        if self.wrong is not None:
            raise self.wrong


@pytest.fixture
def stumbling(house: Released) -> Stumbling:
    house.releases = Stumbling(house.folder / "models")
    return house.releases


@pytest.mark.parametrize("wrong", [KeyboardInterrupt(), OSError("folder")])
def test_a_switch_that_failed_after_the_pointer_moved_is_settled(
    house: Released, stumbling: Stumbling, wrong: BaseException
):
    first, second = house.released(1), house.train(2)
    house.approve(second)
    stumbling.wrong = wrong
    with pytest.raises(type(wrong)):
        promote_release(second, "user:bo", house.house, step=house.step)
    stumbling.wrong = None
    assert (house.releases.get_live("denials"), house.step.open_intents()) == (second, [])
    with pytest.raises(CorruptedError, match="the ledger says that"):
        promote_release(second, "user:bo", house.house, step=house.step)
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == (second,)
    settled = house.step.done("promote")[-1]
    assert settled.intent == [entry for entry in house.step.entries if entry.phase == "intent"][-1].id
    assert settled.facts == {"model": "denials", "previous_release": first.id, "user": "user:bo", "recovered": True}
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == ()
    stumbling.wrong = wrong
    with pytest.raises(type(wrong)):
        go_back(house)
    stumbling.wrong = None
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == (first,)
    assert [period.release for period in list_release_periods(house.books, "denials")] == [
        first.id,
        second.id,
        first.id,
    ]


def test_a_switch_that_failed_before_the_pointer_moved_is_left_alone(house: Released, monkeypatch: pytest.MonkeyPatch):
    first, second = house.released(1), house.train(2)
    house.approve(second)
    monkeypatch.setattr(house.releases, "set_live", lambda release: [][0])
    with pytest.raises(IndexError):
        promote_release(second, "user:bo", house.house, step=house.step)
    monkeypatch.undo()
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == ()
    assert house.releases.get_live("denials") == first
    # It never went live, so it may yet.
    promote_release(second, "user:bo", house.house, step=house.step)
    assert go_back(house) == first


def test_a_failed_switch_is_never_settled_past_what_the_ledger_says(house: Released, stumbling: Stumbling):
    house.released(1)
    second, third = house.train(2), house.train(3)
    house.approve(second)
    house.approve(third)
    stumbling.wrong = OSError("folder")
    with pytest.raises(OSError, match="folder"):
        promote_release(second, "user:bo", house.house, step=house.step)
    failed = house.step.entries[-1]
    house.books.change(failed, facts={**failed.facts, "previous_release": third.id})
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == ()


def test_a_rollback_to_what_mlflow_cannot_show_is_whole(house: Released):
    first = house.released(1)
    house.released(2)
    (house.folder / "models/candidates" / f"{first.candidate}.json").write_bytes(b"{}")
    assert go_back(house) == first
    assert list_release_periods(house.books, "denials")[0].release == first.id

"""A release on its road: one proposes, another approves and it answers, either goes back; also after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.released_model import Released
from tests.trust.test_approvals import Somebody
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.training.train import ModelStore
from wellspring.records.models import Release
from wellspring.workflows import release as release_module


class House:
    """A small house, and who is at its terminal: the token is the person's name."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world = Released(folder)
        self.sealed: list[str] = []
        self.logins: list[str] = []
        self.recovered = self.integrated = 0
        self.broken: CorruptedError | None = None
        (folder / "policies").mkdir()
        self.policy = folder / "policies" / "a.cedar"
        self.policy.write_text("permit (principal, action, resource);")
        self.project = SimpleNamespace(own={"policies": folder / "policies"}, lake=folder / "lake")
        self.records = SimpleNamespace(index=self)
        self.step, self.lake = world.step, world.lake
        self.sequencer = SimpleNamespace(integrate=self.integrate)
        self.entries = world.books.list_entries
        self.open_intents = world.step.open_intents
        self.shelf = ModelStore(world.objects, world.releases.paths, world.signer.key_id)
        monkeypatch.setattr(release_module, "recover_interrupted", self.recover)
        monkeypatch.setattr(release_module, "seal_stories", lambda house, subjects: self.sealed.extend(subjects))
        monkeypatch.setattr(release_module.users, "resume_session", self.present)

    @contextmanager
    def present(self, project: Any, token: str) -> Iterator[Somebody]:
        self.logins.append(token)
        try:
            yield {"ana": self.world.ana, "bo": self.world.bo, "cy": self.world.cy}[token]
        finally:
            self.logins.remove(token)
            self.logins.append(f"{token} is gone")

    def recover(self, house: Any) -> None:
        self.recovered += 1
        if self.broken is not None:
            raise self.broken

    def integrate(self) -> None:
        self.integrated += 1

    def propose(self, candidate: str, token: str = "ana") -> Release:
        house: Any = self
        return release_module.propose_release(house, self.world.house, candidate, model_store=self.shelf, token=token)

    def approve(self, release: str, token: str = "bo") -> tuple[Release, str]:
        house: Any = self
        return release_module.approve_release(house, self.world.house, release, token=token)

    def rollback(self, token: str = "ana") -> tuple[Release, str]:
        house: Any = self
        return release_module.rollback_release(house, self.world.house, "denials", token=token)

    @property
    def live(self) -> str:
        return self.world.releases.live_id("denials")


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    return House(tmp_path, monkeypatch)


def test_one_proposes_another_approves_and_it_answers_with_its_story_sealed(house: House):
    asked = house.propose(house.world.train().candidate)
    assert house.live == ""
    approved, person = house.approve(asked.id)
    assert (approved, person, house.live) == (asked, "user:bo", asked.id)
    assert house.sealed == [f"model:denials@{asked.id}"]
    (promoted,) = house.step.done("promote")
    assert promoted.facts["user"] == "user:bo"


@pytest.mark.parametrize("outcome", ["fail", "inconclusive"])
def test_a_candidate_that_did_not_pass_is_never_proposed(house: House, outcome: Any):
    candidate = house.world.train(outcome=outcome).candidate
    with pytest.raises(Refused, match="did not pass its gate") as raised:
        house.propose(candidate)
    assert raised.value.verdict is not None
    assert raised.value.verdict.outcome == outcome
    assert [entry for entry in house.step.entries if entry.action == "propose"] == []


def test_a_candidate_that_nobody_trained_is_not_found(house: House):
    with pytest.raises(NotFound):
        house.propose("0" * 12)


def test_who_proposed_it_does_not_approve_it_and_the_refusal_is_integrated(house: House):
    asked = house.propose(house.world.train().candidate)
    before = house.integrated
    with pytest.raises(Refused, match="somebody else"):
        house.approve(asked.id, "ana")
    assert (house.live, house.sealed) == ("", [])
    assert house.integrated == before + 1


def test_nobody_signs_for_what_could_not_go_live_then(house: House):
    first, second = (house.propose(house.world.train(number).candidate) for number in (1, 2))
    house.approve(first.id)
    with pytest.raises(Refused, match="was judged beside nothing"):
        house.approve(second.id)
    assert [item.subject for item in house.step.done("approve")] == [first.subject]
    assert house.live == first.id


@pytest.mark.parametrize("who", ["bo", "cy"])
def test_what_was_approved_before_a_crash_goes_live_by_whoever_may_approve_it(house: House, who: str):
    asked = house.world.train()
    house.world.approve(asked)
    assert house.live == ""
    approved, person = house.approve(asked.id, who)
    assert (approved, person, house.live) == (asked, "user:bo", asked.id)
    assert len(house.step.done("approve")) == 1
    facts = house.step.done("promote")[0].facts
    assert (facts["user"], facts["executed_by"]) == ("user:bo", f"user:{who}")


@pytest.mark.parametrize(("who", "law", "code"), [("ana", True, "self_approval"), ("bo", False, "no_policy")])
def test_an_approval_of_before_never_goes_live_by_who_may_not_approve_it(house: House, who: str, law: bool, code: str):
    asked = house.world.train()
    house.world.approve(asked)
    if not law:
        house.policy.write_text("")
    before = house.integrated
    with pytest.raises(Refused) as refused:
        house.approve(asked.id, who)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == [code]
    assert (house.live, house.sealed, house.integrated) == ("", [], before + 1)


@pytest.mark.parametrize("who", ["ana", "bo", "cy"])
def test_what_was_taken_back_never_goes_live_again(house: House, who: str):
    first, second = house.world.released(1), house.world.released(2)
    house.rollback()
    with pytest.raises(Refused) as refused:
        house.approve(second.id, who)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["previously_live"]
    assert house.live == first.id
    assert house.step.entries[-1].phase == "refused"


def test_an_approval_of_what_is_live_already_changes_nothing(house: House):
    asked = house.propose(house.world.train().candidate)
    house.approve(asked.id)
    assert house.approve(asked.id) == (asked, "user:bo")
    assert len(house.step.done("promote")) == 1


def test_what_was_judged_beside_another_is_neither_proposed_nor_kept(house: House):
    early = house.world.train(2)
    house.world.released(1)
    kept = house.world.releases.list_ids()
    house.policy.write_text("permit (principal, action, resource); // another digest")
    with pytest.raises(Refused, match="judged beside nothing"):
        house.propose(early.candidate)
    assert house.world.releases.list_ids() == kept


def test_what_is_approved_is_not_proposed_again(house: House):
    asked = house.propose(house.world.train().candidate)
    house.world.approve(asked)
    before = house.integrated
    with pytest.raises(Refused, match="approved already"):
        house.propose(asked.candidate, "bo")
    assert house.integrated == before + 1
    assert house.approve(asked.id)[1] == "user:bo"


def test_a_login_ends_however_the_act_ends(house: House):
    broken = CorruptedError("x", fix="y")
    acts = {
        "propose": lambda: house.propose("0" * 12, "bo"),
        "approve": lambda: house.approve("0" * 12),
        "rollback": lambda: house.rollback("bo"),
    }
    for name, act in acts.items():
        for house.broken in (None, broken):
            house.logins.clear()
            with pytest.raises((CorruptedError, NotFound, Refused)):
                act()
            assert house.logins == ["bo is gone"], name


def test_it_goes_back_in_the_name_of_whoever_takes_it_back(house: House):
    first, second = house.world.released(1), house.world.released(2)
    assert house.live == second.id
    assert house.rollback() == (first, "user:ana")
    assert house.live == first.id


def test_a_switch_that_a_crash_left_open_is_finished_first(house: House):
    first, second = house.world.released(1), house.world.train(2)
    house.world.approve(second)
    facts: Any = {"model": "denials", "previous_release": first.id, "user": "user:bo"}
    house.step.write(
        "promote", "intent", second.subject, intent=None, inputs=[release_module.promotion.build_release_ref(second)], outputs=(),
        facts=facts,
    )  # fmt: skip
    assert house.rollback() == (first, "user:ana")
    assert house.step.open_intents() == []
    assert [item.subject for item in house.step.done("promote")] == [first.subject, second.subject]


def test_answers_are_given_again_with_what_they_were_given_with(house: House, monkeypatch: pytest.MonkeyPatch):
    made = house.world.released()
    seen: dict[str, Any] = {}

    class Again:
        def __init__(self, **ports: Any) -> None:
            seen.update(ports)

        def replay_all(self, predictions: list[str]) -> list[str]:
            return predictions

    monkeypatch.setattr(release_module, "PredictionReplayer", Again)
    asked: Any = house
    told: Any = release_module.replay_predictions(asked, house.world.house, ["prediction:1"], model_store=house.shelf)
    assert told == ["prediction:1"]
    assert seen["views"](house.world.views.digest) == house.world.views
    assert seen["load"](made).artefact == made.artifact
    assert seen["lake"] is house.lake

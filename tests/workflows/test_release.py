"""A release on its road: one proposes, another approves and it answers, either goes back; also after a crash."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.builders.jobs import build_job
from tests.builders.released_model import Released
from tests.builders.user_notes import SIGNED_AT, project_with_users, sign
from wellspring.bootstrap import ModelPorts
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.training.ports import ModelStore
from wellspring.records.models import Release
from wellspring.records.user_notes import UserNote
from wellspring.worker.act_authorizer import ActAuthorizer
from wellspring.workflows import release as release_module


class ProjectFixture:
    """A small project and its users, who sign what they do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world = Released(folder)
        self.sealed: list[str] = []
        self.integrated = 0
        self.broken: CorruptedError | None = None
        (folder / "policies").mkdir()
        self.policy = folder / "policies" / "a.cedar"
        self.policy.write_text("permit (principal, action, resource);")
        self.people = {"ana": world.ana, "bo": world.bo, "cy": world.cy}
        self.project = project_with_users(
            *self.people.values(), source_paths={"policies": folder / "policies"}, lake_dir=folder / "lake"
        )
        self.ledger = SimpleNamespace(index=self)
        self.step, self.lake = world.step, world.lake
        self.query_engine = "engine"
        self.sequencer = SimpleNamespace(integrate=self.integrate)
        self.list_entries = world.books.list_entries
        self.list_open_intents = world.step.open_intents
        self.model_store = ModelStore(world.objects, world.releases.paths, (world.signer.verifier_key,))
        monkeypatch.setattr(release_module, "seal_stories", lambda project, subjects: self.sealed.extend(subjects))

    def integrate(self) -> None:
        if self.broken is not None:
            raise self.broken
        self.integrated += 1

    def propose(self, candidate: str, name: str = "ana", *, lines: tuple[str, ...] = ()) -> Release:
        project: Any = self
        if not lines:
            draft = release_module.draft_release(project, self.models(), candidate)
            lines = (draft.model, draft.id, draft.digest)
        note = sign(self.people[name], "proposal", *lines)
        return release_module.propose_release(project, self.models(), candidate, note=note)

    def approve(self, release: str, name: str = "bo") -> tuple[Release, str]:
        project: Any = self
        proposed = self.world.releases.get(release)
        note = sign(self.people[name], "release", proposed.model, proposed.id, proposed.digest)
        return release_module.approve_release(project, self.models(), release, note=note)

    def rollback(self, note: UserNote | None = None) -> tuple[Release, str]:
        project: Any = self
        return release_module.rollback_release(
            project, self.models(), "denials", note=note or self.sign_rollback(self.live)
        )

    def sign_rollback(self, live: str, model: str = "denials") -> UserNote:
        return sign(self.people["ana"], "rollback", model, live, SIGNED_AT)

    def models(self) -> ModelPorts:
        registry: Any = None
        return ModelPorts(registry, self.model_store, self.world.project)

    @property
    def live(self) -> str:
        return self.world.releases.live_id("denials")


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ProjectFixture:
    return ProjectFixture(tmp_path, monkeypatch)


def test_one_proposes_another_approves_and_it_answers_with_its_story_sealed(project: ProjectFixture):
    requests = project.propose(project.world.train().candidate)
    assert project.live == ""
    approved, person = project.approve(requests.id)
    assert (approved, person, project.live) == (requests, "user:bo", requests.id)
    assert project.sealed == [f"model:denials@{requests.id}"]
    (promoted,) = project.step.done("promote")
    assert promoted.facts["user"] == "user:bo"


@pytest.mark.parametrize("outcome", ["fail", "inconclusive"])
def test_a_candidate_that_did_not_pass_is_never_proposed(project: ProjectFixture, outcome: Any):
    candidate = project.world.train(outcome=outcome).candidate
    with pytest.raises(Refused, match="did not pass its gate") as raised:
        project.propose(candidate)
    assert raised.value.verdict is not None
    assert raised.value.verdict.outcome == outcome
    assert [entry for entry in project.step.entries if entry.action == "propose"] == []


def test_a_candidate_that_nobody_trained_is_not_found(project: ProjectFixture):
    with pytest.raises(NotFound):
        project.propose("0" * 12)


def test_who_proposed_it_does_not_approve_it_and_the_refusal_is_integrated(project: ProjectFixture):
    requests = project.propose(project.world.train().candidate)
    before = project.integrated
    with pytest.raises(Refused, match="another user must approve"):
        project.approve(requests.id, "ana")
    assert (project.live, project.sealed) == ("", [])
    assert project.integrated == before + 2


def test_nobody_signs_for_what_could_not_go_live_then(project: ProjectFixture):
    first, second = (project.propose(project.world.train(number).candidate) for number in (1, 2))
    project.approve(first.id)
    with pytest.raises(Refused, match="was evaluated against no model"):
        project.approve(second.id)
    assert [item.subject for item in project.step.done("approve")] == [first.subject]
    assert project.live == first.id


@pytest.mark.parametrize("user_name", ["bo", "cy"])
def test_what_was_approved_before_a_crash_goes_live_by_whoever_may_approve_it(project: ProjectFixture, user_name: str):
    requests = project.world.train()
    project.world.approve(requests)
    assert project.live == ""
    approved, person = project.approve(requests.id, user_name)
    assert (approved, person, project.live) == (requests, "user:bo", requests.id)
    assert len(project.step.done("approve")) == 1
    facts = project.step.done("promote")[0].facts
    assert (facts["user"], facts["executed_by"]) == ("user:bo", f"user:{user_name}")


@pytest.mark.parametrize(
    ("user_name", "policies", "code"), [("ana", True, "self_approval"), ("bo", False, "no_policy")]
)
def test_an_approval_of_before_never_goes_live_by_who_may_not_approve_it(
    project: ProjectFixture, user_name: str, policies: bool, code: str
):
    requests = project.world.train()
    project.world.approve(requests)
    if not policies:
        project.policy.write_text("")
    before = project.integrated
    with pytest.raises(Refused) as refused:
        project.approve(requests.id, user_name)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == [code]
    assert (project.live, project.sealed, project.integrated) == ("", [], before + 2)


@pytest.mark.parametrize("user_name", ["ana", "bo", "cy"])
def test_what_was_taken_back_never_goes_live_again(project: ProjectFixture, user_name: str):
    first, second = project.world.released(1), project.world.released(2)
    project.rollback()
    with pytest.raises(Refused) as refused:
        project.approve(second.id, user_name)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["previously_live"]
    assert project.live == first.id
    assert project.step.entries[-1].phase == "refused"


def test_an_approval_of_what_is_live_already_changes_nothing(project: ProjectFixture):
    requests = project.propose(project.world.train().candidate)
    project.approve(requests.id)
    assert project.approve(requests.id) == (requests, "user:bo")
    assert len(project.step.done("promote")) == 1


def test_what_was_judged_beside_another_is_neither_proposed_nor_kept(project: ProjectFixture):
    early = project.world.train(2)
    project.world.released(1)
    stored = project.world.releases.list_ids()
    project.policy.write_text("permit (principal, action, resource); // another digest")
    with pytest.raises(Refused, match="evaluated against no model"):
        project.propose(early.candidate)
    assert project.world.releases.list_ids() == stored


def test_what_is_approved_is_not_proposed_again(project: ProjectFixture):
    requests = project.propose(project.world.train().candidate)
    project.world.approve(requests)
    before = project.integrated
    with pytest.raises(Refused, match="already approved"):
        project.propose(requests.candidate, "bo")
    assert project.integrated == before + 2
    assert project.approve(requests.id)[1] == "user:bo"


def test_what_changed_after_the_signature_is_not_proposed(project: ProjectFixture):
    candidate = project.world.train().candidate
    draft = release_module.draft_release(cast(Any, project), project.models(), candidate)
    project.policy.write_text("permit (principal, action, resource); // another digest")
    with pytest.raises(Refused, match="signed another proposal"):
        project.propose(candidate, lines=(draft.model, draft.id, draft.digest))
    assert [entry for entry in project.step.entries if entry.action == "propose"] == []


def test_a_rollback_takes_back_what_was_live_when_it_was_signed(project: ProjectFixture):
    first, second = project.world.released(1), project.world.released(2)
    for note in (project.sign_rollback(first.id), project.sign_rollback(second.id, "fraud")):
        with pytest.raises(Refused, match="signed another rollback"):
            project.rollback(note)
    assert project.live == second.id


def test_a_rollback_that_is_executed_again_changes_nothing(project: ProjectFixture):
    first, second, third = (project.world.released(number) for number in (1, 2, 3))
    note = project.sign_rollback(third.id)
    assert project.rollback(note) == (second, "user:ana")
    assert project.rollback(note) == (second, "user:ana")
    assert project.live == second.id
    assert project.rollback() == (first, "user:ana")
    assert project.rollback(note) == (second, "user:ana")
    assert project.live == first.id
    (entry, _) = project.step.done("rollback")
    assert (entry.facts["signature"], entry.facts["signed_at"]) == (note.signature, SIGNED_AT)


def test_a_rollback_restores_the_release_that_its_note_names(project: ProjectFixture):
    first, second, third = (project.world.released(number) for number in (1, 2, 3))
    with pytest.raises(Refused, match="signed another rollback"):
        project.rollback(project.sign_rollback(f"{second.id}:{first.id}"))
    note = project.sign_rollback(f"{third.id}:{first.id}")
    assert project.rollback(note) == (first, "user:ana")
    assert project.rollback(note) == (first, "user:ana")
    assert project.live == first.id


def test_a_policy_that_is_revoked_while_a_rollback_waits_refuses_it_at_its_execution(project: ProjectFixture):
    _, second = project.world.released(1), project.world.released(2)
    note = project.sign_rollback(second.id)
    job = build_job(kind="rollback", subject="denials", principal="user:ana")
    acts = ActAuthorizer(cast("Any", project), integrate=project.integrate, step=project.step)
    acts.authorize_job(project.project, job, note)
    assert [entry for entry in project.step.entries if entry.action == "authorize"] == []
    project.policy.write_text('permit (principal in Role::"nobody", action, resource);')
    with pytest.raises(Refused, match="user:ana may not rollback model:denials"):
        project.rollback(note)
    assert project.live == second.id
    (refusal,) = [entry for entry in project.step.entries if entry.action == "authorize"]
    assert (refusal.phase, refusal.facts["principal"]) == ("refused", "user:ana")


def test_it_goes_back_in_the_name_of_whoever_takes_it_back(project: ProjectFixture):
    first, second = project.world.released(1), project.world.released(2)
    assert project.live == second.id
    assert project.rollback() == (first, "user:ana")
    assert project.live == first.id


def test_a_switch_that_a_crash_left_open_is_finished_first(project: ProjectFixture):
    first, second = project.world.released(1), project.world.train(2)
    project.world.approve(second)
    facts: Any = {"model": "denials", "previous_release": first.id, "user": "user:bo"}
    project.step.write(
        "promote", "intent", second.subject, intent=None,
        inputs=[release_module.build_release_ref(second)], outputs=(), facts=facts,
    )  # fmt: skip
    with pytest.raises(Refused, match="signed another rollback"):
        project.rollback(project.sign_rollback(first.id))
    assert project.rollback() == (first, "user:ana")
    assert project.step.open_intents() == []
    assert [item.subject for item in project.step.done("promote")] == [first.subject, second.subject]


def test_answers_are_given_again_with_what_they_were_given_with(
    project: ProjectFixture, monkeypatch: pytest.MonkeyPatch
):
    built = project.world.released()
    observed: dict[str, Any] = {}

    class Again:
        def __init__(self, **ports: Any) -> None:
            observed.update(ports)

        def replay_all(self, predictions: list[str]) -> list[str]:
            return predictions

    monkeypatch.setattr(release_module, "PredictionReplayer", Again)
    requests: Any = project
    result: Any = release_module.replay_predictions(requests, project.models(), ["prediction:1"])
    assert result == ["prediction:1"]
    assert observed["views_by_digest"](project.world.views.digest) == project.world.views
    assert observed["load_scorer"](built).spec.model == built.model
    assert (observed["lake"], observed["engine"]) == (project.lake, "engine")

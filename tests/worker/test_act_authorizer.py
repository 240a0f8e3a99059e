"""Acts of users at their submission: who signed the note, whether they may do it, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from tests.builders.approvals import Somebody
from tests.builders.synthetic_world import candidate
from tests.builders.user_notes import SIGNED_AT, sign
from tests.builders.worker import WorkerWorld
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.releases.candidates import save_candidate
from wellspring.models.releases.store import ReleaseStore
from wellspring.trust import user_notes

FINDING = "a" * 12
LINES = ("denials", "none", SIGNED_AT)
OWNERS_ONLY = 'permit (principal in Role::"owner", action, resource);'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WorkerWorld]:
    with closing(WorkerWorld(tmp_path, toml='[users.bo]\nroles = ["approver"]\n')) as world:
        yield world


@pytest.fixture
def bo(world: WorkerWorld) -> Somebody:
    bo = Somebody("bo", "approver")
    world.books.enrol(bo)
    return bo


def submit_signed(world: WorkerWorld, kind: str, subject: str, note: Any, **parameters: JsonValue) -> Any:
    return world.submit(kind, subject, parameters={"note": note.model_dump(mode="json"), **parameters})


def refusals(world: WorkerWorld) -> list[tuple[str, str, str]]:
    """List the recorded refusals: subject, caller and phase."""
    assert world.queue.list_jobs() == []
    return [
        (entry.subject, entry.text("principal") or f"claimed {entry.text('claimed_principal')}", entry.phase)
        for entry in world.step.entries
        if entry.action == "authorize"
    ]


def test_a_note_that_another_signed_queues_nothing(world: WorkerWorld, bo: Somebody):
    forged = sign(bo, "rollback", *LINES).model_copy(update={"user": "ana"})
    with pytest.raises(CorruptedError, match="enrolled with another key"):
        submit_signed(world, "rollback", "denials", forged)
    forged = forged.model_copy(update={"public_key": sign(world.ana, "rollback", *LINES).public_key})
    with pytest.raises(Refused, match="signature of user:ana"):
        submit_signed(world, "rollback", "denials", forged)
    assert [(caller, phase) for _, caller, phase in refusals(world)] == [
        ("claimed user:ana", "failed"),
        ("claimed user:ana", "refused"),
    ]
    assert world.integrated == 2
    entry = world.step.entries[-1]
    assert (entry.facts["kind"], entry.facts["requested_action"]) == ("rollback", "rollback")
    assert entry.facts["note_digest"] == user_notes.compute_note_digest(forged)


def test_a_user_who_was_removed_or_not_enrolled_is_refused_at_once(world: WorkerWorld):
    for name, reason in (("cy", r"no \[users.cy\]"), ("bo", "no enrollment of user:bo")):
        with pytest.raises(Refused, match=reason):
            submit_signed(world, "rollback", "denials", sign(Somebody(name), "rollback", *LINES))
    assert [caller for _, caller, _ in refusals(world)] == ["claimed user:cy", "claimed user:bo"]


def test_the_policies_decide_about_the_user_and_the_act_at_the_submission(world: WorkerWorld, bo: Somebody):
    world.write_policies(OWNERS_ONLY)
    with pytest.raises(Refused, match="user:bo may not rollback model:denials: no policy permits it"):
        submit_signed(world, "rollback", "denials", sign(bo, "rollback", *LINES))
    assert refusals(world) == [("model:denials", "user:bo", "refused")]
    assert world.submit_rollback("denials").state == "queued"


def test_a_note_for_another_subject_is_refused(world: WorkerWorld):
    with pytest.raises(Refused, match="signed another rollback"):
        submit_signed(world, "rollback", "arrivals", sign(world.ana, "rollback", *LINES))
    assert [caller for _, caller, _ in refusals(world)] == ["user:ana"]


def test_who_proposed_a_release_is_refused_before_the_approval_waits(world: WorkerWorld, bo: Somebody):
    release = world.propose(world.ana)
    lines = (release.model, release.id, release.digest)
    with pytest.raises(Refused) as raised:
        submit_signed(world, "approve", release.id, sign(world.ana, "release", *lines))
    assert raised.value.verdict is not None
    assert [reason.code for reason in raised.value.verdict.reasons] == ["self_approval"]
    with pytest.raises(Refused, match="signed another release"):
        submit_signed(world, "approve", release.id, sign(bo, "release", *lines[:2], "0" * 64))
    assert [caller for _, caller, _ in refusals(world)] == ["user:ana", "user:bo"]
    assert submit_signed(world, "approve", release.id, sign(bo, "release", *lines)).principal == "user:bo"


def test_a_release_or_finding_that_does_not_exist_is_not_found(world: WorkerWorld):
    with pytest.raises(NotFound):
        submit_signed(world, "approve", FINDING, sign(world.ana, "release", "denials", FINDING, "0" * 64))
    digest = user_notes.hash_reason("")
    with pytest.raises(NotFound):
        submit_signed(world, "acknowledge", FINDING, sign(world.ana, "acknowledgement", FINDING, digest, SIGNED_AT))
    assert refusals(world) == []


def test_a_policy_on_the_source_decides_about_an_acknowledgement(world: WorkerWorld):
    facts: dict[str, Any] = {"finding": FINDING, "code": "c", "source": "vendor", "shown": "a.csv", "message": "m"}
    with world.books.step("finding", "file:vendor/a", facts=facts):
        pass
    world.books.change(world.books.step.entries[-1], service="enclave")
    note = sign(world.ana, "acknowledgement", FINDING, user_notes.hash_reason("removed"), SIGNED_AT)
    with pytest.raises(Refused, match="signed another acknowledgement"):
        submit_signed(world, "acknowledge", FINDING, note, reason="kept")
    world.write_policies(
        'permit (principal, action == Action::"acknowledge", resource) when { resource.source == "another" };'
    )
    with pytest.raises(Refused, match="may not acknowledge"):
        submit_signed(world, "acknowledge", FINDING, note, reason="removed")
    world.write_policies(
        'permit (principal, action == Action::"acknowledge", resource) when { resource.source == "vendor" };'
    )
    assert submit_signed(world, "acknowledge", FINDING, note, reason="removed").state == "queued"


def test_a_proposal_is_about_the_model_of_its_candidate(world: WorkerWorld):
    trained = candidate()
    save_candidate(trained, paths=ReleaseStore(world.project.models_dir).paths)
    world.write_policies(
        'permit (principal, action == Action::"propose", resource) when { resource.model == "denials" };'
    )
    with pytest.raises(Refused, match="signed another proposal"):
        submit_signed(world, "propose", trained.id, sign(world.ana, "proposal", "arrivals", "f" * 12, "0" * 64))
    job = submit_signed(world, "propose", trained.id, sign(world.ana, "proposal", "denials", "f" * 12, "0" * 64))
    assert (job.principal, job.state) == ("user:ana", "queued")

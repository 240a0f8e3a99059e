"""A change is live only with the signatures that it needs, in its turn, and completely after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.approvals import release
from tests.builders.changes import ANYTHING, ChangedProject, build_change
from tests.builders.recording_step import Died
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.records.trust import Ref
from wellspring.trust.approvals import build_approval_act, record_approval, record_proposal
from wellspring.trust.changes.activation import check_in_force, find_live_change, recover_changes
from wellspring.trust.policy import PolicySet

POINTS = ("intent", "applied", "live-set")


@pytest.fixture
def project(tmp_path: Path) -> ChangedProject:
    return ChangedProject(tmp_path)


def live(project: ChangedProject) -> str:
    return project.store.live_id("policy", "benefits")


def test_the_first_content_is_adopted_once_and_the_entry_says_so(project: ChangedProject):
    first = project.adopt()
    (entry,) = project.step.done("adopt")
    assert (entry.outputs, entry.text("kind"), entry.facts["second_person"]) == ((first.content_ref,), "policy", False)
    assert (live(project), project.applied) == (first.id, [first.content])
    with pytest.raises(Refused, match="has a live release already"):
        project.adopt("1" * 64)


def test_a_change_is_live_after_two_users_signed_it(project: ChangedProject):
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    with pytest.raises(Refused, match="not approved by a second person"):
        project.activate(change)
    assert live(project) == first.id
    project.approve(change)
    project.activate(change)
    (entry,) = project.step.done("activate")
    assert (entry.outputs, entry.text("previous_release"), entry.text("user")) == (
        (change.content_ref,),
        first.id,
        "user:bo",
    )
    assert live(project) == find_live_change(project.books, "policy", "benefits") == change.id
    project.activate(change)
    assert len(project.step.done("activate")) == 1


def test_one_person_makes_a_change_that_needs_no_second_and_must_have_proposed_it(project: ChangedProject):
    first = project.adopt()
    change = build_change(replaces=first.id, needs_second_person=False)
    project.store.save(change)
    with pytest.raises(Refused, match="was not proposed"):
        project.activate(change, "user:ana")
    project.propose(change)
    project.activate(change, "user:ana")
    assert live(project) == change.id


def test_the_author_of_a_change_cannot_approve_it_in_another_release(project: ChangedProject):
    first = project.adopt()
    project.propose(build_change(replaces="f" * 12))
    again = project.propose(build_change(replaces=first.id), project.bo)
    with pytest.raises(Refused, match=r"user:ana proposed what .* brings") as refused:
        build_approval_act(again, "user:ana", project.books)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["self_approval"]


@pytest.mark.parametrize("approved", [False, True])
def test_the_author_of_dbt_code_approves_a_model_of_it_only_once_another_user_approved_the_code(
    project: ChangedProject, approved: bool
):
    code = project.propose(build_change("transform", content="7" * 64))
    model = release(transform="7" * 64)
    candidate = Ref(name="candidate:ffffffffffff", digest="f" * 64)
    record_proposal(model, candidate, project.bo, ledger=project.books, policies=ANYTHING, step=project.step)
    if approved:
        project.approve(code)
        assert build_approval_act(model, "user:ana", project.books).action == "approve"
        return
    with pytest.raises(Refused, match="another user must approve it"):
        build_approval_act(model, "user:ana", project.books)


def test_a_change_that_replaces_another_release_than_the_live_one_is_superseded(project: ChangedProject):
    first = project.adopt()
    changes = [project.propose(build_change(content=digit * 64, replaces=first.id)) for digit in "12"]
    for change in changes:
        project.approve(change)
    project.activate(changes[0])
    with pytest.raises(Refused, match=f"but {changes[0].id} is live now"):
        project.activate(changes[1])
    assert live(project) == changes[0].id


@pytest.mark.parametrize("point", POINTS)
def test_a_switch_that_a_crash_interrupted_is_completed_once(project: ChangedProject, point: str):
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    project.approve(change)
    project.step.die_at = f"change.activate:{point}"
    project.step.points.clear()
    with pytest.raises(Died):
        project.activate(change)
    project.step.die_at = None
    for expected in ([change], []):
        assert (
            list(
                recover_changes(
                    "policy", project.step.open_intents(), project.context, apply=project.apply, step=project.step
                )
            )
            == expected
        )
    assert live(project) == find_live_change(project.books, "policy", "benefits") == change.id
    assert project.applied[-1] == change.content
    assert [entry.facts.get("recovered") for entry in project.step.done("activate")] == [True]


def test_a_pointer_that_the_ledger_does_not_name_is_never_used(project: ChangedProject):
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    project.approve(change)
    project.store.set_live(change)
    with pytest.raises(CorruptedError, match="but the ledger names"):
        project.activate(build_change(content="2" * 64, replaces=change.id))


def test_a_process_without_the_resource_moves_no_pointer(project: ChangedProject):
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    project.approve(change)
    project.fence.lost.add("change:policy")
    with pytest.raises(Unavailable, match="lease"):
        project.activate(change)
    assert live(project) == first.id


def test_the_policies_decide_on_the_kind_of_a_release(project: ChangedProject):
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    models_only = PolicySet(
        {"a.cedar": 'permit (principal, action == Action::"approve", resource) when { resource.kind == "model" };'}
    )
    with pytest.raises(Refused, match="no policy permits it"):
        record_approval(change, project.bo, project.books, models_only, step=project.step)


def test_what_one_person_put_into_force_in_development_stays_and_the_next_change_needs_two(project: ChangedProject):
    project.books.enter_mode("development")
    first = project.adopt()
    change = project.propose(build_change(replaces=first.id))
    project.approve(change, project.ana)
    project.activate(change, "user:ana")
    project.books.enter_mode("governed")
    check_in_force(change, "policy", "benefits", project.books)
    for person in (project.ana, project.bo):
        project.books.enrol(person)
    later = project.propose(build_change(content="2" * 64, replaces=change.id))
    with pytest.raises(Refused, match="another user must approve it"):
        project.approve(later, project.ana)
    project.store.set_live(later)
    with pytest.raises(CorruptedError, match="not approved by a second person"):
        check_in_force(later, "policy", "benefits", project.books)

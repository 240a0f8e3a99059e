"""Two people, not one: whatever else is tried, one person alone releases nothing, and nobody speaks for another."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders.approvals import Books, Somebody, release
from wellspring.errors import CorruptedError, Refused, WellspringError
from wellspring.records.decisions import ThresholdRule
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.trust import policy
from wellspring.trust.approvals import find_approval, record_approval, record_proposal
from wellspring.trust.policy import PolicySet
from wellspring_verify import approvals as notes

EXAMPLE = Path(__file__).parents[2] / "examples/health_plan/policies"
CANDIDATE = Ref(name="candidate:ffffffffffff", digest="f" * 64)
ANYTHING = PolicySet({"a.cedar": "permit (principal, action, resource);"})


@pytest.fixture
def ana() -> Somebody:
    return Somebody("ana", "owner", "approver")


@pytest.fixture
def bo() -> Somebody:
    return Somebody("bo", "approver")


@pytest.fixture
def books(ana: Somebody, bo: Somebody) -> Books:
    return Books(ana, bo)


@pytest.fixture
def policies() -> PolicySet:
    return policy.load_policies(EXAMPLE)


def test_in_development_one_person_releases_and_the_approval_says_so(ana: Somebody) -> None:
    books, proposed = Books(), release()
    books.enter_mode("development")
    books.enrol(ana)
    record_proposal(proposed, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    record_approval(proposed, ana, books, ANYTHING, step=books.step)
    approval = find_approval(books, proposed)
    assert approval is not None
    assert approval.approver == "user:ana"
    assert books.step.done("approve")[0].facts["mode"] == "development"


def test_the_end_of_development_voids_enrollments_proposals_and_approvals(ana: Somebody, bo: Somebody) -> None:
    books, proposed = Books(), release()
    books.enter_mode("development")
    for person in (ana, bo):
        books.enrol(person)
    record_proposal(proposed, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    record_approval(proposed, bo, books, ANYTHING, step=books.step)
    books.enter_mode("governed")
    assert find_approval(books, proposed) is None
    with pytest.raises(Refused, match="no enrollment of user:ana"):
        record_proposal(proposed, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    again, second = Somebody("ana", "owner", "approver"), Somebody("bo", "approver")
    books.enrol(again)
    books.enrol(second)
    with pytest.raises(Refused, match="was not proposed"):
        record_approval(proposed, second, books, ANYTHING, step=books.step)
    record_proposal(proposed, CANDIDATE, again, ledger=books, policies=ANYTHING, step=books.step)
    with pytest.raises(Refused, match="another user must approve"):
        record_approval(proposed, again, books, ANYTHING, step=books.step)
    assert find_approval(books, proposed) is None
    record_approval(proposed, second, books, ANYTHING, step=books.step)
    assert find_approval(books, proposed) is not None
    assert books.step.done("approve")[-1].facts["mode"] == "governed"


def test_proposal_and_approval_by_two_users_are_recorded(
    books: Books, ana: Somebody, bo: Somebody, policies: PolicySet
) -> None:
    expected_result = release()
    assert find_approval(books, expected_result) is None
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=policies, step=books.step)
    assert find_approval(books, expected_result) is None
    record_approval(expected_result, bo, books, policies, step=books.step)
    holds = find_approval(books, expected_result)
    assert holds is not None
    assert (holds.approver, holds.proposers, holds.key_id) == ("user:bo", frozenset({"user:ana"}), bo.key_id)
    (proposal,) = books.step.done("propose")
    assert proposal.inputs == (CANDIDATE,)
    assert proposal.outputs == (Ref(name=expected_result.subject, digest=expected_result.digest),)
    (entry,) = books.step.done("approve")
    assert entry.outputs == (Ref(name=expected_result.subject, digest=expected_result.digest),)
    assert {name: entry.facts[name] for name in ("user", "key_id")} == {"user": "user:bo", "key_id": bo.key_id}
    note = notes.approval_text("denials", expected_result.id, expected_result.digest)
    assert note == f"wellspring release v1\ndenials\n{expected_result.id}\n{expected_result.digest}\n".encode()
    assert notes.verify_note_signature(base64.b64encode(bo.public_key).decode(), str(entry.facts["signature"]), note)
    assert books.list_entries(subject=expected_result.subject, action="approve")[0].entry.id == holds.entry_id


@pytest.mark.parametrize("allow", [True, False])
def test_nobody_approves_what_they_proposed(books: Books, ana: Somebody, policies: PolicySet, allow: bool) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=policies, step=books.step)
    # Whatever the policies say: a file of the project cannot take this away.
    with pytest.raises(Refused, match="another user must approve") as refused:
        record_approval(expected_result, ana, books, ANYTHING if allow else policies, step=books.step)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["self_approval"]
    assert books.result("approve") == ["refused"]
    assert notes.approval_text("denials", expected_result.id, expected_result.digest) not in ana.signed
    assert find_approval(books, expected_result) is None


def test_everybody_who_ever_proposed_it_is_an_author(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result = release()
    for person in (ana, bo, ana):
        record_proposal(expected_result, CANDIDATE, person, ledger=books, policies=ANYTHING, step=books.step)
    for person in (ana, bo):
        with pytest.raises(Refused, match="another user must approve"):
            record_approval(expected_result, person, books, ANYTHING, step=books.step)
    cy = Somebody("cy", "approver")
    books.enrol(cy)
    record_approval(expected_result, cy, books, ANYTHING, step=books.step)
    holds = find_approval(books, expected_result)
    assert holds is not None
    assert holds.proposers == {"user:ana", "user:bo"}


def test_a_second_approval_finds_the_first(books: Books, ana: Somebody, bo: Somebody) -> None:
    cy, expected_result = Somebody("cy", "approver"), release()
    books.enrol(cy)
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    record_approval(expected_result, bo, books, ANYTHING, step=books.step)
    with pytest.raises(Refused, match="already approved"):
        record_approval(expected_result, cy, books, ANYTHING, step=books.step)
    assert books.result("approve") == ["done", "refused"]


def test_what_is_approved_is_never_proposed_again(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    record_approval(expected_result, bo, books, ANYTHING, step=books.step)
    for person in (ana, bo):
        # Its approver would be one of its authors, and nobody could prove any more that two people stood behind it.
        with pytest.raises(Refused, match="already approved") as refused:
            record_proposal(expected_result, CANDIDATE, person, ledger=books, policies=ANYTHING, step=books.step)
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == ["already_approved"]
    assert books.result("propose") == ["done", "refused", "refused"]
    assert len(bo.signed) == 1
    # Of other bytes it says nothing.
    record_proposal(release(edition="e2"), CANDIDATE, bo, ledger=books, policies=ANYTHING, step=books.step)


def test_what_nobody_proposed_cannot_be_approved(books: Books, bo: Somebody) -> None:
    with pytest.raises(Refused, match="was not proposed with its current content"):
        record_approval(release(), bo, books, ANYTHING, step=books.step)


def test_propose_and_approve_need_a_permitting_policy(
    books: Books, ana: Somebody, bo: Somebody, policies: PolicySet
) -> None:
    expected_result = release()
    with pytest.raises(Refused, match="may not propose"):
        record_proposal(expected_result, CANDIDATE, bo, ledger=books, policies=policies, step=books.step)
    assert (bo.signed, books.result("propose")) == ([], [])
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=policies, step=books.step)
    cy = Somebody("cy", "owner")
    books.enrol(cy)
    with pytest.raises(Refused, match="may not approve"):
        record_approval(expected_result, cy, books, policies, step=books.step)
    assert cy.signed == []
    assert books.result("authorize") == ["refused", "refused"]


@pytest.mark.parametrize(
    "change",
    [
        {"decision_rule": ThresholdRule(labels=("paid", "denied"), threshold="0.50")}, {"artifact": "9" * 64},
        {"views": "9" * 64}, {"preprocessing": "9" * 64},
        {"decision_rule": ThresholdRule(labels=("denied", "paid"), threshold="0.25")}, {"task": "other"},
        {"edition": "e2"}, {"policy": "9" * 64}, {"model": "other"},
        {"candidate": "e" * 12}, {"digest": "9" * 64}, {"id": "9" * 12},
    ],
)  # fmt: skip
def test_a_change_of_any_part_voids_the_approval(
    books: Books, ana: Somebody, bo: Somebody, change: dict[str, object]
) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    changed = expected_result.model_copy(update=change)
    with pytest.raises(Refused, match="it was changed"):
        record_approval(changed, bo, books, ANYTHING, step=books.step)
    record_approval(expected_result, bo, books, ANYTHING, step=books.step)
    with pytest.raises(Refused, match="it was changed"):
        find_approval(books, changed)
    if "id" not in change and "digest" not in change:
        # With a digest of its own it is another release, which nobody has approved.
        assert find_approval(books, release(**change)) is None


def test_approval_of_another_digest_is_ignored(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    record_approval(expected_result, bo, books, ANYTHING, step=books.step)
    books.change(books.step.done("approve")[0], outputs=(Ref(name=expected_result.subject, digest="9" * 64),))
    assert find_approval(books, expected_result) is None


def forged(books: Books, expected_result: Release, **facts: JsonValue) -> None:
    """Write an approval by hand, as whoever holds the worker's journal could."""
    out = [Ref(name=expected_result.subject, digest=expected_result.digest)]
    with books.step("approve", expected_result.subject, outputs=out, facts=facts):
        pass


def test_an_approval_that_another_signed_is_broken(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result, second = release(), release(edition="e2")
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    right = bo.sign(notes.approval_text("denials", expected_result.id, expected_result.digest))
    for person, signature in (
        ("user:bo", ana.sign(notes.approval_text("denials", expected_result.id, expected_result.digest))),
        ("user:bo", bo.sign(notes.approval_text("denials", second.id, second.digest))),
        ("user:bo", b""),
        ("user:unknown", right),
    ):
        before = len(books.step.entries)
        forged(books, expected_result, user=person, key_id=bo.key_id, signature=base64.b64encode(signature).decode())
        with pytest.raises(CorruptedError, match=f"test:{before} records that {person} approved"):
            find_approval(books, expected_result)
        del books.step.entries[before:]
    forged(books, expected_result, user="user:bo", key_id=bo.key_id, signature=base64.b64encode(right).decode())
    assert find_approval(books, expected_result) is not None


def test_a_proposers_own_signature_never_makes_an_approval(books: Books, ana: Somebody) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    own_copy = base64.b64encode(
        ana.sign(notes.approval_text("denials", expected_result.id, expected_result.digest))
    ).decode()
    forged(books, expected_result, user="user:ana", key_id=ana.key_id, signature=own_copy)
    with pytest.raises(CorruptedError, match="there was no other proposer"):
        find_approval(books, expected_result)


def test_a_proposal_in_anothers_name_is_broken(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    # So that ana could approve her own: the proposal is made to be somebody else's.
    entry = books.step.done("propose")[0]
    books.change(entry, facts={**entry.facts, "user": "user:bo"})
    with pytest.raises(CorruptedError, match="records that user:bo proposed"):
        record_approval(expected_result, ana, books, ANYTHING, step=books.step)
    assert find_approval(books, expected_result) is None


def test_only_supervisor_entries_enroll_a_key(books: Books, ana: Somebody) -> None:
    expected_result, cy = release(), Somebody("cy", "approver")
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    books.enrol(cy, service="api")
    with pytest.raises(Refused, match="no enrollment of user:cy"):
        record_approval(expected_result, cy, books, ANYTHING, step=books.step)
    assert cy.signed == []


def test_a_person_with_another_key_than_the_enrolled_one_is_broken(books: Books, ana: Somebody) -> None:
    expected_result = release()
    with pytest.raises(CorruptedError, match="another key"):
        record_proposal(
            expected_result, CANDIDATE, Somebody("ana", "owner"), ledger=books, policies=ANYTHING, step=books.step
        )
    books.enrol(Somebody("ana"))
    with pytest.raises(CorruptedError, match="two keys"):
        record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    assert books.result("propose") == ["failed", "failed"]


def test_a_signature_that_does_not_hold_is_never_recorded_as_done(books: Books, ana: Somebody, bo: Somebody) -> None:
    expected_result = release()
    record_proposal(expected_result, CANDIDATE, ana, ledger=books, policies=ANYTHING, step=books.step)
    bo.sign = lambda message: b"\0" * 64  # type: ignore[method-assign]
    with pytest.raises(WellspringError, match="is invalid"):
        record_approval(expected_result, bo, books, ANYTHING, step=books.step)
    assert books.result("approve") == ["failed"]

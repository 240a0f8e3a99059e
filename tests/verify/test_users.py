import pytest

from tests.builders import prediction_story
from tests.builders.prediction_story import Key, release
from tests.builders.story_changes import RELEASED, SHORT, Steps, facts, moved, output, put, without
from wellspring_verify import approvals
from wellspring_verify.entries import EntryBook, PackEntry, PackRef
from wellspring_verify.users import ApprovalChecker

DIGEST = release().digest or ""


def sound(steps: Steps) -> tuple[list[str], list[str]]:
    """Return the places of the approvals that hold, as the services' ids, and what was missed."""
    book, missed = EntryBook(prediction_story.entries(steps)), list[str]()

    def miss(entry: PackEntry | None, what: str) -> None:
        missed.append(what)

    matches = ApprovalChecker(book, miss).valid_approvals(
        PackRef(RELEASED, DIGEST), "denials", book.completed("propose", RELEASED)
    )
    return [str(item.facts["user"]) for item in matches], missed


def later(steps: Steps, name: str = "omar", *, before: str = "predict") -> Steps:
    """The approver asks for the same release, signed with their own key."""
    signed = Key(name).sign(approvals.proposal_text("denials", SHORT, DIGEST))
    return put("again", steps["propose"].but(user=f"user:{name}", signature=signed), before=before)(steps)


def test_one_user_proposed_and_another_approved():
    assert sound(prediction_story.steps()) == (["user:omar"], [])
    assert sound(without("propose", "approve")(prediction_story.steps())) == ([], [])


@pytest.mark.parametrize("before", ["promote", "predict"])
def test_an_approver_who_asks_for_the_same_later_breaks_nothing(before: str):
    steps = later(prediction_story.steps(), before=before)
    assert sound(steps) == (["user:omar"], [])
    assert output(steps) == []


def test_an_approver_who_asked_before_is_an_author_however_many_asked():
    steps = later(prediction_story.steps(), before="approve")
    assert sound(steps) == ([], [f"'omar' approved '{RELEASED}' and had proposed it"])
    assert f"'{RELEASED}' has no approval by a second user" in output(steps)


def test_one_key_is_one_person_whichever_proposal_it_signed():
    steps = {**prediction_story.steps(), **prediction_story.people(keys={"omar": Key("ines")})}
    assert sound(steps) == ([], ["'omar' has the same key as a proposer: they are one person"])


def test_an_approval_before_any_proposal_is_named_though_somebody_else_proposed_later():
    steps = moved("approve", before="propose")(prediction_story.steps())
    assert sound(steps) == ([], [f"'{RELEASED}' was approved before it was proposed"])


def test_a_later_proposal_must_be_signed_all_the_same():
    steps = facts("again", signature="")(later(prediction_story.steps()))
    assert sound(steps)[1] == [f"the signature of 'omar', who proposed '{RELEASED}', is invalid"]

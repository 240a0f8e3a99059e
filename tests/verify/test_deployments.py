"""Which release could answer which request, according to the changes of a deployment in a pack."""

from __future__ import annotations

import hashlib

import pytest

from tests.builders import prediction_story
from tests.builders.deployments import SEED, deployment, undeployment
from tests.builders.prediction_story import REQUESTS, Key, another, release, with_threshold
from tests.builders.story_changes import MODEL, RELEASED, Steps, output, without
from wellspring_verify.deployments import MAX_SWITCH_LAG_SECONDS, selects_challenger

EVERY, NONE = "0.9999", "0.0001"
"""Shares for which the request of the story belongs to the challenger, and to the stable release."""
STABLE = release(with_threshold("0.9"))


def challenged(share: str = EVERY, role: str = "challenger") -> Steps:
    """The release of the story is the challenger of another one, and answers."""
    steps = prediction_story.steps()
    rest = without("promote", "predict")(steps)
    return {
        **rest,
        "stable": another("0.9"),
        "deploy": deployment(STABLE, share=share),
        "predict": steps["predict"].but(role=role),
    }


def beside(share: str, **facts: str) -> Steps:
    """Another release is the challenger of the release of the story, which answers."""
    steps = prediction_story.steps()
    challenger = deployment(release(), STABLE, share=share)
    return {**without("predict")(steps), "deploy": challenger, "predict": steps["predict"].but(**facts)}


def late(steps: Steps) -> Steps:
    """Let more time pass before the prediction than an answer that was under way may take; each step is a second."""
    pause = {f"later {number}": steps["key"] for number in range(MAX_SWITCH_LAG_SECONDS + 1)}
    return {**without("predict")(steps), **pause, "predict": steps["predict"]}


def test_the_share_is_the_part_of_the_requests_that_a_challenger_answers():
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]
    for share in ("0.1", "0.5", "0.9"):
        selected = sum(selects_challenger(SEED, share, digest) for digest in digests)
        assert abs(selected / 2000 - float(share)) < 0.05
    small = {digest for digest in digests if selects_challenger(SEED, "0.2", digest)}
    assert small < {digest for digest in digests if selects_challenger(SEED, "0.4", digest)}
    assert small != {digest for digest in digests if selects_challenger("0" * 16, "0.2", digest)}
    # The rule is part of the format: another program must choose the same.
    assert selects_challenger(SEED, EVERY, REQUESTS)
    assert not selects_challenger(SEED, NONE, REQUESTS)


def test_the_answers_of_both_roles_are_proved():
    assert output(challenged()) == []
    assert output(late(challenged())) == []
    assert output(beside(NONE)) == []
    assert output(late(beside(NONE))) == []
    assert output(challenged(), MODEL) == []


def test_an_answer_of_the_other_role_than_the_share_and_the_seed_give_is_named():
    assert output(challenged(NONE)) == [
        "its request belongs to the other role than 'challenger', by the share and the seed"
    ]
    what = "its request belongs to the other role than 'stable', by the share and the seed"
    assert output(late(beside(EVERY))) == [what]
    # Before the change all requests were its own, and the answer may have been under way.
    assert output(beside(EVERY)) == []
    # The API could not load the challenger, and its entry says which.
    assert output(late(beside(EVERY, missing_challenger=STABLE.name))) == []
    assert output(late(beside(EVERY, missing_challenger=RELEASED))) == [what]


def test_an_answer_of_a_challenger_that_was_not_deployed_is_named():
    steps = challenged()
    missing = f"'{RELEASED}' was not deployed as a challenger before the prediction"
    assert output(without("deploy")(steps)) == [missing]
    afterwards = {**without("deploy")(steps), "deploy": steps["deploy"]}
    assert output(afterwards) == [missing]
    as_stable = {**steps, "predict": steps["predict"].but(role="stable")}
    assert output(as_stable) == [f"'{RELEASED}' was not made live before the prediction"]
    assert output(steps | {"deploy": steps["deploy"].but(model="other")}) == [missing]


@pytest.mark.parametrize("role", ["", "both", "Stable"])
def test_an_answer_without_a_role_is_named(role: str):
    steps = prediction_story.steps()
    assert output({**steps, "predict": steps["predict"].but(role=role)}) == [
        "it does not say in which role its release answered"
    ]


@pytest.mark.parametrize("end", ["undeploy", "promote", "another challenger"])
def test_an_answer_of_a_challenger_whose_role_had_ended_is_named(end: str):
    steps = challenged()
    third = release(with_threshold("0.8"))
    ends = {
        "undeploy": undeployment(STABLE),
        "promote": another("0.8"),
        "another challenger": deployment(STABLE, third, share=EVERY),
    }
    ended = {**without("predict")(steps), "end": ends[end], "predict": steps["predict"]}
    assert output(ended) == []
    (gap,) = output(late(ended))
    assert f"'{RELEASED}' was no longer the challenger" in gap
    # Deployed again, it answers again.
    stable = third if end == "promote" else STABLE
    again = {**without("predict")(ended), "again": deployment(stable, share=EVERY), "predict": steps["predict"]}
    assert output(late(again)) == []


def test_a_deployment_that_its_user_did_not_sign_is_named():
    steps = challenged()
    what = "the signature of 'omar', who changed the challenger of 'denials', is invalid"
    for facts in (
        {"share": "0.9998"},
        {"seed": "0" * 16},
        {"signature": Key("ines").sign(b"x")},
        {"signed_at": "2026-11-25T12:00:01.000000Z"},
        {"signature": ""},
    ):
        assert output({**steps, "deploy": steps["deploy"].but(**facts)}) == [what]
    by_eve = deployment(STABLE, share=EVERY, user="eve")
    (gap,) = output({**steps, "deploy": by_eve})
    assert "has no enrollment of 'eve', who changed the challenger of 'denials'" in gap
    # The end of a role changes who may answer, too.
    ended = {**without("predict")(steps), "end": undeployment(STABLE).but(signature=""), "predict": steps["predict"]}
    assert output(ended) == [what]


def test_a_deployment_that_was_signed_for_another_stable_release_is_named():
    stale = {**challenged(), "deploy": deployment(release(with_threshold("0.8")), share=EVERY)}
    (gap,) = output(stale)
    assert gap.startswith("it was signed for ")
    assert gap.endswith(" as the stable release")


def test_a_deployment_before_its_approval_is_named():
    steps = challenged()
    order = ["approve", "deploy"]
    early = {name: item for name, item in steps.items() if name not in order}
    early = {**without("predict")(early), "deploy": steps["deploy"], "approve": steps["approve"]}
    assert output({**early, "predict": steps["predict"]}) == [f"'{RELEASED}' was made live before it was approved"]

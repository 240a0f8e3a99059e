"""Authorization: every refusal is recorded, but repeated ones at most once a second."""

from __future__ import annotations

import pytest

from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.errors import Refused
from wellspring.trust.authorization import DenialThrottle, authorize, require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet

POLICIES = PolicySet(
    {"a.cedar": 'permit (principal == Service::"portal", action == Action::"predict", resource == Model::"denials");'}
)
PORTAL, UNKNOWN_CALLER, DENIALS = (
    Principal("service:portal"),
    Principal("service:unregistered"),
    PolicyResource("model:denials"),
)


def test_a_permitted_act_is_recorded_with_who_asked_and_under_which_policies() -> None:
    step = RecordingStep()
    assert authorize(POLICIES, PORTAL, "predict", DENIALS, step=step, facts={"count": 2}).passed
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("authorize", "done", "model:denials")
    assert entry.facts == {
        "principal": "service:portal",
        "requested_action": "predict",
        "policy_digest": POLICIES.digest,
        "count": 2,
    }


def test_with_record_denials_only_a_permitted_request_has_no_entry() -> None:
    step = RecordingStep()
    assert authorize(POLICIES, PORTAL, "predict", DENIALS, step=step, record_denials_only=True).passed
    assert step.entries == []
    assert not authorize(POLICIES, UNKNOWN_CALLER, "predict", DENIALS, step=step, record_denials_only=True).passed
    assert [(entry.action, entry.phase) for entry in step.entries] == [("authorize", "refused")]


def test_a_refusal_is_always_recorded() -> None:
    step = RecordingStep()
    for _ in range(3):
        assert not authorize(POLICIES, UNKNOWN_CALLER, "predict", DENIALS, step=step).passed
    assert [entry.phase for entry in step.entries] == ["refused"] * 3


def test_one_refusal_a_second_is_recorded_and_the_others_are_counted() -> None:
    clock = FixedClock()
    step, refusals = RecordingStep(clock=clock), DenialThrottle(clock)
    for _ in range(5):
        authorize(POLICIES, UNKNOWN_CALLER, "predict", DENIALS, step=step, throttle=refusals)
    authorize(POLICIES, UNKNOWN_CALLER, "train", DENIALS, step=step, throttle=refusals)
    clock.pass_(seconds=2)
    authorize(POLICIES, UNKNOWN_CALLER, "predict", DENIALS, step=step, throttle=refusals)
    result = [(entry.facts["requested_action"], entry.facts["suppressed_count"]) for entry in step.entries]
    assert result == [("predict", 0), ("train", 0), ("predict", 4)]


def test_require_authorization_raises_with_the_verdict() -> None:
    step = RecordingStep()
    require_authorization(POLICIES, PORTAL, "predict", DENIALS, step=step)
    with pytest.raises(Refused, match="service:unregistered may not predict model:denials: no policy") as refused:
        require_authorization(POLICIES, UNKNOWN_CALLER, "predict", DENIALS, step=step)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["no_policy"]
    assert [entry.phase for entry in step.entries] == ["done", "refused"]


def test_a_malformed_name_is_never_recorded() -> None:
    step = RecordingStep()
    with pytest.raises(Refused) as refused:
        require_authorization(POLICIES, PORTAL, "predict", PolicyResource("model:900-12-3456"), step=step)
    assert "900-12-3456" not in step.entries[0].model_dump_json()
    assert "900-12-3456" not in refused.value.what

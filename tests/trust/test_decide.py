"""At every door: decide, and record it; a refusal always, and never so often that it fills the ledger."""

from __future__ import annotations

import pytest

from tests.steps import FixedClock, RecordingStep
from wellspring.errors import Refused
from wellspring.trust.decide import Refusals, decide, demand
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies, Resource

POLICIES = Policies(
    {"a.cedar": 'permit (principal == Service::"portal", action == Action::"predict", resource == Model::"denials");'}
)
PORTAL, STRANGER, DENIALS = Principal("service:portal"), Principal("service:stranger"), Resource("model:denials")


def test_a_permitted_act_is_recorded_with_who_asked_and_under_which_policies() -> None:
    step = RecordingStep()
    assert decide(POLICIES, PORTAL, "predict", DENIALS, step=step, facts={"count": 2}).passed
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("decide", "done", "model:denials")
    assert entry.facts == {"by": "service:portal", "asked": "predict", "policy": POLICIES.digest, "count": 2}


def test_on_the_hot_path_only_refusals_are_recorded() -> None:
    step = RecordingStep()
    assert decide(POLICIES, PORTAL, "predict", DENIALS, step=step, hot=True).passed
    assert step.entries == []
    assert not decide(POLICIES, STRANGER, "predict", DENIALS, step=step, hot=True).passed
    assert [(entry.action, entry.phase) for entry in step.entries] == [("decide", "refused")]


def test_a_refusal_is_always_recorded() -> None:
    step = RecordingStep()
    for _ in range(3):
        assert not decide(POLICIES, STRANGER, "predict", DENIALS, step=step).passed
    assert [entry.phase for entry in step.entries] == ["refused"] * 3


def test_a_door_records_one_refusal_a_second_and_counts_the_others() -> None:
    clock = FixedClock()
    step, refusals = RecordingStep(clock=clock), Refusals(clock)
    for _ in range(5):
        decide(POLICIES, STRANGER, "predict", DENIALS, step=step, refusals=refusals)
    decide(POLICIES, STRANGER, "learn", DENIALS, step=step, refusals=refusals)
    clock.pass_(seconds=2)
    decide(POLICIES, STRANGER, "predict", DENIALS, step=step, refusals=refusals)
    told = [(entry.facts["asked"], entry.facts["before"]) for entry in step.entries]
    assert told == [("predict", 0), ("learn", 0), ("predict", 4)]


def test_a_demand_raises_with_the_verdict() -> None:
    step = RecordingStep()
    demand(POLICIES, PORTAL, "predict", DENIALS, step=step)
    with pytest.raises(Refused, match="service:stranger may not predict model:denials: no policy") as refused:
        demand(POLICIES, STRANGER, "predict", DENIALS, step=step)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["no_policy"]
    assert [entry.phase for entry in step.entries] == ["done", "refused"]


def test_what_is_recorded_never_repeats_a_name_that_is_none() -> None:
    step = RecordingStep()
    with pytest.raises(Refused) as refused:
        demand(POLICIES, PORTAL, "predict", Resource("model:900-12-3456"), step=step)
    assert "900-12-3456" not in step.entries[0].model_dump_json()
    assert "900-12-3456" not in refused.value.what

"""What the policies decide about an act of a user: the resource of each act, and the refusal that is recorded."""

from __future__ import annotations

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.errors import Refused
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet
from wellspring.trust.user_acts import (
    UserAct,
    authorize_act,
    build_acknowledgement_act,
    build_proposal_act,
    build_rollback_act,
)

ANA = Principal("user:ana", ("owner",))
ID = "a" * 12
POLICIES = PolicySet(
    {
        "a.cedar": 'permit (principal, action == Action::"propose", resource) when { resource.model == "denials" };\n'
        'permit (principal, action == Action::"rollback", resource == Model::"denials");\n'
        'permit (principal, action == Action::"acknowledge", resource) when { resource.source == "vendor" };'
    }
)


@pytest.mark.parametrize(
    "act", [build_proposal_act("denials", ID), build_rollback_act("denials"), build_acknowledgement_act(ID, "vendor")]
)
def test_a_permitted_act_has_no_entry_of_its_own(act: UserAct):
    step = RecordingStep()
    authorize_act(POLICIES, ANA, act, step=step)
    assert step.entries == []


@pytest.mark.parametrize(
    "act", [build_proposal_act("arrivals", ID), build_rollback_act("arrivals"), build_acknowledgement_act(ID, "bank")]
)
def test_a_refused_act_is_recorded_with_the_facts_of_its_caller(act: UserAct):
    step = RecordingStep()
    with pytest.raises(Refused, match=f"user:ana may not {act.action}"):
        authorize_act(POLICIES, ANA, act, step=step, facts={"job": ID})
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("authorize", "refused", act.resource.name)
    assert (entry.facts["requested_action"], entry.facts["job"]) == (act.action, ID)

"""Recorded requests are asked again under both sets of policies; only those whose decision differs are counted."""

from __future__ import annotations

from tests.builders.recording_step import RecordingStep
from wellspring.errors import Refused
from wellspring.records.trust import Ref
from wellspring.trust.policy import PolicySet
from wellspring.trust.policy_decisions import compare_decisions, list_requests

PORTAL = 'permit (principal == Service::"portal", action == Action::"predict", resource);'
AUTHORS = """permit (principal in Role::"author", action == Action::"propose", resource)
when { resource.kind == "model" };"""


def record() -> RecordingStep:
    """Record two predictions of one caller, a proposal, a transform, a refusal, and an entry of something else."""
    step = RecordingStep()
    for number in range(2):
        with step("predict", f"prediction:{number}", facts={"model": "denials", "principal": "service:portal"}):
            pass
    candidate = Ref(name="candidate:ffffffffffff")
    with step("propose", f"release:{'a' * 12}", inputs=[candidate], facts={"user": "user:ana"}):
        pass
    with step("transform", "dbt:tiny", facts={"principal": "service:owner"}), step("seal", "edition:e"):
        pass
    try:
        refused = {"principal": "service:other", "requested_action": "predict"}
        with step("authorize", "model:denials", facts={**refused}):
            raise Refused("no", fix="ask")
    except Refused:
        pass
    return step


def test_each_request_is_listed_once():
    requests = list_requests(record().entries, "tiny")
    assert [(request.principal, request.action, request.resource.name) for request in requests] == [
        ("service:portal", "predict", "model:denials"),
        ("user:ana", "propose", f"release:{'a' * 12}"),
        ("service:owner", "transform", "project:tiny"),
        ("service:other", "predict", "model:denials"),
    ]


def test_the_decisions_that_differ_are_counted_by_action():
    requests = list_requests(record().entries, "tiny")
    before, after = PolicySet({"a.cedar": PORTAL}), PolicySet({"a.cedar": AUTHORS})
    changes = compare_decisions(before, after, requests, {"ana": ("author",)})
    assert [(change.action, change.permitted, change.denied) for change in changes] == [
        ("predict", 0, 1),
        ("propose", 1, 0),
    ]
    assert "for example service:portal and model:denials" in changes[0].describe()
    assert compare_decisions(before, before, requests, {}) == []

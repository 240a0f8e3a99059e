"""What a run records: the refusal of its gate with the reasons, and the packages that it ran with."""

from __future__ import annotations

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.errors import Refused
from wellspring.models.training.run_record import compute_environment_digest, require_pass
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict


def test_a_verdict_that_did_not_pass_is_recorded_and_raised_with_its_reasons():
    step = RecordingStep()
    reason = Reason(code="known_leak", message="denials was not released: claim.paid is known later")
    verdict = Verdict(subject="model:denials", outcome="fail", reasons=(reason,))
    edition = Ref(name="edition:e1", digest="1" * 64)
    with pytest.raises(Refused, match=r"claim\.paid is known later") as error:
        require_pass(verdict, step, [edition])
    assert error.value.verdict == verdict
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.inputs, entry.facts["outcome"]) == ("gate", "refused", (edition,), "fail")


def test_a_verdict_that_passed_is_not_recorded():
    step = RecordingStep()
    require_pass(Verdict(subject="model:denials", outcome="pass"), step, [])
    assert step.entries == []


def test_the_environment_is_one_digest_of_all_packages():
    assert len(compute_environment_digest()) == 64
    assert compute_environment_digest() == compute_environment_digest()

"""A job: what makes two submissions the same, and which states are ends."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders.jobs import build_job
from wellspring.records.jobs import ENDED_STATES, OPEN_STATES, Job


def test_a_state_is_open_or_an_end():
    assert set() == OPEN_STATES & ENDED_STATES
    assert all(build_job(state=state).is_ended == (state in ENDED_STATES) for state in OPEN_STATES | ENDED_STATES)


@pytest.mark.parametrize(
    "change",
    [{"kind": "train"}, {"subject": "x"}, {"parameters": {"a": 1}}, {"principal": "user:ana"}, {"tenant": "b"}],
)
def test_another_kind_subject_parameter_caller_or_tenant_is_other_content(change: dict[str, Any]):
    assert not build_job().has_same_content(build_job(**change))
    assert build_job().has_same_content(build_job(2, priority=5, trace="b" * 32))


@pytest.mark.parametrize(
    "change", [{"run": ""}, {"run": "a b"}, {"run": "-x"}, {"id": "short"}, {"priority": 101}, {"attempt_limit": 0}]
)
def test_a_job_that_is_not_valid_is_an_error(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        build_job(**change)


def test_a_job_survives_json():
    job = build_job(parameters={"count": 2}, error={"slug": "refused"}, state="failed")
    assert Job.model_validate_json(job.model_dump_json()) == job

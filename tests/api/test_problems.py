"""An error becomes a problem document whose status says what the caller can do about it."""

from __future__ import annotations

import json

import pytest

from wellspring.api import problems
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.records.verdict import Verdict, VerdictOutcome


def refused(outcome: VerdictOutcome) -> Refused:
    return Refused("no", fix="ask", verdict=Verdict(subject="request", outcome=outcome))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (refused("fail"), 403),
        (Refused("no", fix="ask"), 403),
        (refused("invalid"), 422),
        (refused("inconclusive"), 404),
        (NotFound("no", fix="look"), 404),
        (Unavailable("no", fix="wait"), 503),
        (CorruptedError("no", fix="stop"), 500),
        (ProjectError("no", fix="edit"), 500),
        (WellspringError("no", fix="look"), 500),
    ],
)
def test_error_maps_to_status_by_caller_action(error: WellspringError, status: int):
    result = problems.problem_from_error(error)
    assert (result.status, result.type, result.detail, result.fix) == (
        status,
        f"urn:wellspring:{error.slug}",
        "no",
        error.fix,
    )
    number, headers, body = problems.problem_response(result)
    assert number == status
    assert json.loads(body) == result.model_dump()
    assert ((b"retry-after", b"1") in headers) == (status == 503)

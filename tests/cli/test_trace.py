"""A command has one trace, that of its environment or a new one, and passes it with what it submits and requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run
from tests.builders.jobs import build_job
from wellspring.cli.trace import begin_trace, get_command_trace
from wellspring.embedded import job_client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_command_continues_the_trace_of_its_environment():
    with begin_trace({"TRACEPARENT": TRACEPARENT}) as trace:
        assert trace == get_command_trace() == TRACE


@pytest.mark.parametrize("value", ["", TRACE, TRACEPARENT[:-1], f"00-{'0' * 32}-00f067aa0ba902b7-01", "\u00e9"])
def test_a_command_with_a_malformed_or_no_traceparent_begins_a_trace(value: str):
    with begin_trace({"TRACEPARENT": value}) as first:
        assert get_command_trace() == first
    with begin_trace({}) as second:
        assert len(second) == 32
    assert first != second
    assert TRACE not in {first, second}
    assert get_command_trace() != get_command_trace()


def test_the_jobs_of_a_command_have_its_trace(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    submitted: list[dict[str, Any]] = []

    def submit_job(_project: Any, kind: str, subject: str = "", **fields: Any) -> Any:
        submitted.append({"kind": kind, "subject": subject, **fields})
        return build_job(trace=fields["trace"])

    monkeypatch.setattr(job_client, "submit_job", submit_job)
    monkeypatch.setattr(job_client, "follow_job", lambda *_: build_job(state="succeeded", result={}))
    monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
    words = ("run", "prove", "dataset:medical_claim", "--no-wait", "--json", "--project", root)
    assert run(*words).document["trace"] == TRACE
    monkeypatch.delenv("TRACEPARENT")
    assert len({run(*words).document["trace"], run(*words).document["trace"], TRACE}) == 3
    assert [len(fields["trace"]) for fields in submitted] == [32] * 3

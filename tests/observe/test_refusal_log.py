"""Refusals are recorded once an interval for each peer, with the number of those that were not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.errors import Refused, Unavailable
from wellspring.observe import refusal_log
from wellspring.observe.refusal_log import RefusalLog

REFUSED = Refused("user 7 may not", fix="do not")


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(refusal_log, "time", clock)
    return clock


def test_one_peer_has_one_entry_a_minute_with_a_count(seconds: Seconds):
    step = RecordingStep()
    refusals = RefusalLog(step)
    for second in range(61):
        seconds.now = float(second)
        refusals.record("connect", "server:sequencer", "uid:7", REFUSED)
    refusals.record("connect", "server:sequencer", "uid:8", REFUSED)
    refusals.record("connect", "server:control", "uid:7", REFUSED, kind="status")
    assert [(entry.phase, entry.facts["peer"], entry.facts["suppressed_count"]) for entry in step.entries] == [
        ("refused", "uid:7", 0), ("refused", "uid:7", 59), ("refused", "uid:8", 0), ("refused", "uid:7", 0),
    ]  # fmt: skip
    assert step.entries[-1].facts["kind"] == "status"


def test_many_peers_share_an_entry(seconds: Seconds):
    step = RecordingStep()
    refusals = RefusalLog(step)
    for peer in range(1000):
        refusals.record("connect", "server:sequencer", f"uid:{peer}", REFUSED)
    assert len(step.entries) == refusal_log.MAX_PEERS + 1
    seconds.now = 61.0
    refusals.record("connect", "server:sequencer", "uid:999", REFUSED)
    assert step.entries[-1].facts["peer"] == "uid:999"
    assert len(refusals._last_recorded) <= 2 * refusal_log.MAX_PEERS + 1


def test_an_entry_that_cannot_be_written_is_reported(capsys: pytest.CaptureFixture[str]):
    def fail(*_: object, **__: object) -> RecordingStep:
        raise Unavailable("the journal is full", fix="free some space")

    step: Any = fail
    RefusalLog(step).record("connect", "server:sequencer", "uid:7", REFUSED)
    assert "the journal is full" in capsys.readouterr().err

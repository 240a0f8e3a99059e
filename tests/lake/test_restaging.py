"""Parts that were staged after a discarded one are written again, with equal rows."""

from __future__ import annotations

import pytest

from tests.builders import drops
from tests.builders.recording_step import Died, RecordingStep
from wellspring.errors import CorruptedError, Refused
from wellspring.lake import restaging
from wellspring.lake.lake import Lake

CLAIMS = drops.contract()
SOURCE = "clearinghouse"


def test_later_parts_are_staged_again_with_equal_rows(lake: Lake, step: RecordingStep):
    first, second, third = (
        lake.stage_part(drops.intake(name, CLAIMS, drops.rows(2, first=place * 5)), CLAIMS, step=step)
        for place, name in enumerate("abc")
    )
    lake.discard_parts(second, step=step)
    waiting = lake.staged_parts()
    assert [part.drop for part in waiting] == [first.drop, third.drop]
    assert [part.rows_digest for part in waiting] == [first.rows_digest, third.rows_digest]
    assert waiting[1].snapshot_id != third.snapshot_id
    assert [entry.subject for entry in step.done("stage")][-1] == f"drop:{third.drop}"
    edition = lake.publish(SOURCE, waiting, step=step)
    assert lake.read_table(edition, "medical_claim").num_rows == 4
    with pytest.raises(Refused, match="are published"):
        lake.discard_parts(first, step=step)


def test_rows_that_read_back_differently_discard_nothing(
    lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch
):
    first, second = (
        lake.stage_part(drops.intake(name, CLAIMS, drops.rows(1, first=place)), CLAIMS, step=step)
        for place, name in enumerate("ab")
    )
    monkeypatch.setattr(restaging, "_hash_part", lambda *_: "0" * 64)
    with pytest.raises(CorruptedError, match="read back"):
        lake.discard_parts(first, step=step)
    assert lake.staged_parts() == (first, second)


def test_a_crash_before_the_branch_moves_discards_nothing(lake: Lake):
    dying = RecordingStep(die_at="lake.discard:appended")
    first, second = (
        lake.stage_part(drops.intake(name, CLAIMS, drops.rows(1, first=place)), CLAIMS, step=dying)
        for place, name in enumerate("ab")
    )
    with pytest.raises(Died):
        lake.discard_parts(first, step=dying)
    assert lake.staged_parts() == (first, second)
    lake.discard_parts(first, step=RecordingStep())
    assert [part.drop for part in lake.staged_parts()] == [second.drop]

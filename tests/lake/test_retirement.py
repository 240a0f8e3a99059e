"""A retired edition cannot be read, its files go, and the tables of other editions stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders import lakes
from tests.builders.built_editions import built, landed, rows
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.errors import NotFound, Refused
from wellspring.lake.lake import Lake

LATER = datetime.now(UTC) + timedelta(days=1)
POINTS = ("lake.retire:intent", "lake.retire:marked", "lake.retire:untagged")


def count_files(folder: Path) -> int:
    return sum("features" in path.parts for path in folder.rglob("*.parquet"))


def test_a_retired_edition_is_named_by_its_error_and_its_files_are_removed(
    lake: Lake, step: RecordingStep, clock: FixedClock, tmp_path: Path
):
    base = landed(lake, step)
    old = built(lake, base, step)
    clock.pass_(days=1)
    new = built(lake, base, step, rows(5))
    assert count_files(tmp_path) == 2
    lake.retirement.retire_edition(old, facts={"age_days": 1}, step=step)
    assert [entry.facts["age_days"] for entry in step.done("retire")] == [1]
    lake.remove_orphan_files(older_than=LATER, step=step)
    assert count_files(tmp_path) == 1
    assert lake.list_editions("built") == (new,)
    assert lake.get_edition(old.id) == old, "its record stays"
    for table in ("features", "medical_claim"):
        with pytest.raises(NotFound, match=f"edition {old.id} was retired"):
            lake.read_table(old, table)
    assert lake.read_table(new, "features").num_rows == 5
    assert lake.read_table(base, "medical_claim").num_rows == 3


def test_the_newest_built_edition_and_landed_ones_are_never_retired(lake: Lake, step: RecordingStep):
    base = landed(lake, step)
    newest = built(lake, base, step)
    for edition in (base, newest):
        with pytest.raises(Refused, match="landed edition, or the newest"):
            lake.retirement.retire_edition(edition, facts={}, step=step)


@pytest.mark.parametrize("point", POINTS)
def test_a_retirement_that_a_crash_interrupted_is_completed(
    lake: Lake, step: RecordingStep, clock: FixedClock, tmp_path: Path, point: str
):
    base = landed(lake, step)
    old = built(lake, base, step)
    clock.pass_(days=1)
    new = built(lake, base, step, rows(5))
    step.die_at = point
    with pytest.raises(Died):
        lake.retirement.retire_edition(old, facts={}, step=step)
    step.die_at = None
    after = lakes.open_lake(tmp_path, clock=clock)
    assert after.recover(step.open_intents(), step=step) == ()
    assert step.open_intents() == []
    assert after.recover(step.open_intents(), step=step) == ()
    after.remove_orphan_files(older_than=LATER, step=step)
    assert count_files(tmp_path) == 1
    assert after.list_editions("built") == (new,)
    after.close()

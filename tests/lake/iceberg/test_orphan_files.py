"""Sweeping removes what failed appends left, and never what waits or what an edition names."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import drops, lakes
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.errors import CorruptedError
from wellspring.records.clock import SystemClock

CLAIMS = drops.contract()
LATER = SystemClock().now() + timedelta(days=1)
EARLIER = SystemClock().now() - timedelta(days=1)


def data(folder: Path) -> set[Path]:
    return set((folder / "warehouse").rglob("*.parquet"))


def test_only_what_nothing_names_is_removed(tmp_path: Path):
    lake, step = lakes.open_lake(tmp_path, clock=FixedClock()), RecordingStep()
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    first = lake.publish(CLAIMS.source, lake.staged_parts(), step=step)
    waiting = lake.stage_part(drops.intake("b", CLAIMS, drops.rows(2, first=10)), CLAIMS, step=step)
    with pytest.raises(CorruptedError):
        lake.stage_part(
            drops.with_counts(drops.intake("c", CLAIMS, drops.rows(2)), rows_digest="0" * 64), CLAIMS, step=step
        )
    with pytest.raises(Died):
        lake.stage_part(
            drops.intake("d", CLAIMS, drops.rows(2)), CLAIMS, step=RecordingStep(die_at="lake.stage:appended")
        )
    lake.stage_part(drops.intake("e", CLAIMS, drops.rows(2, first=20)), CLAIMS, step=step)
    lake.discard_parts(lake.staged_parts()[-1], step=step)
    bad = data(tmp_path) - {Path(file) for file in lakes.stored_files(lake.open_table(first, "medical_claim"))}
    assert len(bad) == 4  # the waiting one, and three that failed, died and were discarded
    assert lake.remove_orphan_files(older_than=EARLIER, step=step) == 0
    assert lake.remove_orphan_files(older_than=LATER, step=step) > 3
    assert len(data(tmp_path)) == 2
    assert lake.staged_parts() == (waiting,)
    second = lake.publish(CLAIMS.source, lake.staged_parts(), step=step)
    assert [lake.read_table(item, "medical_claim").num_rows for item in (first, second)] == [2, 4]
    lake.close()
    warehouse = lakes.open_catalog(tmp_path)
    warehouse.load_table("medical_claim").remove_orphan_files(older_than=LATER)
    assert warehouse.load_table("medical_claim").remove_orphan_files(older_than=LATER) == 0
    warehouse.close()

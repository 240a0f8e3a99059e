"""Sweeping removes what failed appends left, and never what waits or what an edition names."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.data import drops
from tests.steps import Died, FixedClock, RecordingStep
from wellspring.data.iceberg import Warehouse
from wellspring.data.lake import Lake
from wellspring.data.sweep import sweep
from wellspring.errors import Broken
from wellspring.records.clock import SystemClock

CLAIMS = drops.contract()
LATER = SystemClock().now() + timedelta(days=1)
EARLIER = SystemClock().now() - timedelta(days=1)


def data(folder: Path) -> set[Path]:
    return set((folder / "warehouse").rglob("*.parquet"))


def test_only_what_nothing_names_is_removed(tmp_path: Path):
    lake, step = Lake(tmp_path, tenant="acme", clock=FixedClock()), RecordingStep()
    lake.stage(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    first = lake.publish(CLAIMS.source, lake.staged(), step=step)
    waiting = lake.stage(drops.intake("b", CLAIMS, drops.rows(2, first=10)), CLAIMS, step=step)
    with pytest.raises(Broken):
        lake.stage(drops.intake("c", CLAIMS, drops.rows(2))._replace(rows_digest="0" * 64), CLAIMS, step=step)
    with pytest.raises(Died):
        lake.stage(drops.intake("d", CLAIMS, drops.rows(2)), CLAIMS, step=RecordingStep(die_at="lake.stage:appended"))
    lake.stage(drops.intake("e", CLAIMS, drops.rows(2, first=20)), CLAIMS, step=step)
    lake.discard(lake.staged()[-1], step=step)
    bad = data(tmp_path) - {Path(file) for file in lake.files(first, "medical_claim")}
    assert len(bad) == 4  # the waiting one, and three that failed, died and were discarded
    assert lake.sweep(older_than=EARLIER, step=step) == 0
    assert lake.sweep(older_than=LATER, step=step) > 3
    assert len(data(tmp_path)) == 2
    assert lake.staged() == (waiting,)
    second = lake.publish(CLAIMS.source, lake.staged(), step=step)
    assert [lake.table(each, "medical_claim").num_rows for each in (first, second)] == [2, 4]
    lake.close()
    warehouse = Warehouse(tmp_path)
    sweep(warehouse.table("medical_claim"), older_than=LATER)
    assert sweep(warehouse.table("medical_claim"), older_than=LATER) == 0
    warehouse.close()

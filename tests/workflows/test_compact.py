"""Recorded tables are compacted once, whatever is killed between two steps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import lakes
from tests.builders.entry_index import Index
from tests.builders.leases import ScriptedFence
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.lake.port import RECORDED_NAMESPACE
from wellspring.lake.recorded_tables import RecordedTables
from wellspring.workflows.compact import MIN_FILES, compact_recorded_tables, settle_compactions

POINTS = ("workflows.compact:intent", "workflows.compact:written", "workflows.compact:switched")


class World:
    """Recorded tables, and a log."""

    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock()
        self.step = RecordingStep(clock=self.clock, service="worker")
        self.index = SimpleNamespace(list_open_intents=self.step.open_intents, entries=Index(self.step))
        self.ledger = self
        self.sequencer = SimpleNamespace(integrate=lambda: None)
        self.recorded_tables = RecordedTables(lakes.open_catalog(folder, RECORDED_NAMESPACE), ScriptedFence())

    def fill(self, files: int) -> None:
        for number in range(files):
            rows = pa.table({"id": [f"p{number}"], "log_index": [number]})
            self.recorded_tables.append_rows("prediction", rows.to_reader(), number)

    def compact(self) -> tuple[str, ...]:
        platform: Any = self
        settle_compactions(platform)
        return compact_recorded_tables(platform)


def test_a_table_with_few_files_is_left_alone(tmp_path: Path):
    world = World(tmp_path)
    world.fill(MIN_FILES - 1)
    assert world.compact() == ()
    world.fill(0)
    assert world.step.done("compact") == []


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_compaction_loses_and_doubles_no_row(tmp_path: Path, point: str):
    world = World(tmp_path)
    world.fill(MIN_FILES)
    world.step.die_at = point
    with pytest.raises(Died):
        world.compact()
    world.step.die_at = None
    world.compact()
    assert world.step.open_intents() == []
    assert world.recorded_tables.count_files("prediction") == 1
    stored = world.recorded_tables.read_rows("prediction")
    assert stored is not None
    assert sorted(stored["log_index"].to_pylist()) == list(range(MIN_FILES))
    (entry,) = [entry for entry in world.step.done("compact") if entry.outputs] or [None]
    assert entry is None or entry.outputs[0].digest

"""Predictions and outcomes reach the lake once, whatever is killed between two steps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import lakes
from tests.builders.leases import ScriptedFence
from tests.builders.recording_step import Died
from tests.builders.released_model import Released, ask, claim
from wellspring.bootstrap import ModelPorts
from wellspring.lake.port import RECORDED_NAMESPACE
from wellspring.lake.recorded_tables import RecordedTables
from wellspring.models.training.ports import ModelStore
from wellspring.workflows import outcomes as module


class World:
    """A released model that has answered, and labels that a test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = Released(folder)
        self.released.released()
        self.step, self.index = self.released.step, self
        self.ledger = self
        self.tree = self
        self.folder = folder
        self.recorded_tables = RecordedTables(
            lakes.open_catalog(folder / "tables", RECORDED_NAMESPACE), ScriptedFence()
        )
        self.project = SimpleNamespace(source_paths={"models": folder / "models"}, lake_dir=folder / "lake")
        self.sequencer = SimpleNamespace(integrate=lambda: None)
        self.project_code = "code"
        self.lake = SimpleNamespace(get_edition=lambda level: self.released.lake.built, read_table=self.read_table)
        self.labelled: dict[str, int] = {}
        self.definition = SimpleNamespace(
            name="denials", keys=("claim_id",), label=SimpleNamespace(table="claim_features", column="is_denied")
        )
        monkeypatch.setattr(module, "list_models", lambda folder: ["denials"])
        monkeypatch.setattr(module, "read_model_definition", lambda folder, name, project_code: self.definition)

    @property
    def size(self) -> int:
        return len(self.step.entries)

    def iter_entries(self, *, action: str, phase: Any, after: int) -> Any:
        entries = self.released.books.list_entries(action=action, phase=phase)
        return (indexed for indexed in entries if indexed.index >= after)

    def list_open_intents(self) -> Any:
        return self.step.open_intents()

    def read_table(self, edition: Any, name: str, columns: Any) -> pa.Table:
        late = self.released.clock.at.replace(year=2027)
        count = len(self.labelled)
        return pa.table(
            {
                "claim_id": pa.array([*self.labelled], pa.string()),
                "is_denied": pa.array([*self.labelled.values()], pa.int64()),
                "known_since": pa.array([late] * count, pa.timestamp("us", tz="UTC")),
                "sequence": pa.array(range(count), pa.int64()),
            }
        )

    def record(self) -> tuple[int, int]:
        platform: Any = self
        store = ModelStore(self.released.objects, self.released.releases.paths, (self.released.signer.verifier_key,))
        registry: Any = None
        models = ModelPorts(registry, store, self.released.project)
        recorded = module.record_outcomes(platform, models, progress=lambda *_: None)
        return recorded.predictions, recorded.outcomes

    def summary(self) -> list[dict[str, str | int]]:
        platform: Any = self
        return module.summarize_outcomes(platform)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_each_run_records_what_is_new(world: World):
    assert world.summary() == []
    assert world.record() == (0, 0)
    ask(world.released, claim(3))
    assert world.record() == (1, 0)
    ask(world.released, claim(4))
    ask(world.released, claim(5))
    world.labelled[claim(3)["claim_id"]] = 1
    assert world.record() == (2, 1)
    assert world.record() == (0, 0)
    assert world.summary() == [{"model": "denials", "predictions": 3, "with_outcome": 1}]
    (first, *_) = world.step.done("record_rows")
    assert (first.subject, first.facts["rows"]) == ("dataset:prediction", 1)


@pytest.mark.parametrize("point", ["workflows.outcomes:intent", "workflows.outcomes:appended"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_killed_run_is_completed_by_the_next_one(world: World, point: str, nth: int):
    ask(world.released, claim(3))
    world.labelled[claim(3)["claim_id"]] = 1
    world.step.die_at, world.step.nth = point, nth
    with pytest.raises(Died):
        world.record()
    world.step.die_at = None
    world.record()
    assert world.step.open_intents() == []
    assert world.summary() == [{"model": "denials", "predictions": 1, "with_outcome": 1}]
    outcome = world.recorded_tables.read_rows("outcome")
    assert outcome is not None
    assert outcome.num_rows == 1

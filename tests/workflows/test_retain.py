"""Old built editions are retired unless something names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import JsonValue

from tests.builders import lakes
from tests.builders.built_editions import built, landed, rows
from tests.builders.entry_index import Index
from tests.builders.leases import ScriptedFence
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.errors import ProjectError
from wellspring.lake.port import RECORDED_NAMESPACE
from wellspring.lake.recorded_tables import RecordedTables
from wellspring.records.lake import Edition
from wellspring.records.trust import Ref
from wellspring.settings import RetentionSettings
from wellspring.workflows import retain as module
from wellspring.workflows.retain import RetentionResult, retain_editions


class World:
    """A lake with five built editions, one a day, and what names them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FixedClock()
        # Files have the time of this machine, and only older ones are removed.
        self.clock.pass_(days=10_000)
        self.step = RecordingStep(clock=self.clock, service="worker")
        self.index = Index(self.step)
        self.ledger = self
        self.lake = lakes.open_lake(folder, clock=self.clock)
        self.recorded_tables = RecordedTables(lakes.open_catalog(folder, RECORDED_NAMESPACE), ScriptedFence())
        self.sequencer = SimpleNamespace(integrate=lambda: None)
        self.settings = RetentionSettings.model_validate({"editions": "2d"})
        self.pinned: set[str] = set()
        self.transform = ""
        monkeypatch.setattr(module, "recover_interrupted_ingests", lambda platform: None)
        base = landed(self.lake, self.step)
        self.editions: list[Edition] = []
        for day in range(5):
            self.editions.append(built(self.lake, base, self.step, rows(3 + day)))
            self.clock.pass_(days=1)

    @property
    def project(self) -> Any:
        return SimpleNamespace(name="tests", retention=self.settings, locate=lambda name: f"wellspring.toml: {name}")

    def pinned_editions(self) -> frozenset[str]:
        return frozenset(self.pinned)

    def list_ids(self) -> tuple[str, ...]:
        return ("release",) if self.transform else ()

    def get(self, release_id: str) -> Any:
        return SimpleNamespace(transform=self.transform)

    def predicts(self, edition: Edition, *, row_edition: str = "") -> None:
        facts: dict[str, JsonValue] = {"editions": {"member": row_edition}} if row_edition else {}
        with self.step("predict", "prediction:1", inputs=[Ref(name=edition.subject)], facts=facts):
            pass

    def retain(self) -> RetentionResult:
        platform: Any = self
        return retain_editions(platform, platform)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, monkeypatch)
    yield world
    world.lake.close()
    world.recorded_tables.close()


def test_old_editions_are_retired_and_a_second_run_has_nothing_to_do(world: World):
    ids = [edition.id for edition in world.editions]
    result = world.retain()
    assert result.retired == tuple(ids[:3])
    assert result.removed_files > 0
    assert [edition.id for edition in world.lake.list_editions("built")] == [ids[4], ids[3]]
    again = world.retain()
    assert (again.retired, again.named, again.removed_files) == ((), {}, 0)
    assert [entry.facts["retired"] for entry in world.step.done("retain")] == [3, 0]


def test_what_something_names_is_kept(world: World):
    ids = [edition.id for edition in world.editions]
    world.pinned = {ids[0]}
    world.predicts(world.editions[1])
    with world.step("hold", f"edition:{ids[2]}", facts={"user": "user:ana", "reason": "a lawsuit"}):
        pass
    world.clock.pass_(days=30)
    result = world.retain()
    assert result.named == {ids[0]: "a release", ids[1]: "an answer", ids[2]: "a hold", ids[4]: "the newest edition"}
    assert result.retired == (ids[3],)
    for edition in (world.editions[place] for place in (0, 1, 2, 4)):
        assert world.lake.read_table(edition, "features").num_rows >= 3
    with world.step("lift_hold", f"edition:{ids[2]}"):
        pass
    assert world.retain().retired == (ids[2],)


def test_what_the_transform_of_a_release_built_last_is_kept(world: World):
    world.transform = "c"
    world.lake.retirement._edition_store.set_transform_pointer(world.editions[1], "c")
    result = world.retain()
    assert result.named == {world.editions[1].id: "a release"}
    assert world.lake.retirement.list_newest_of(["c", "d"]) == {world.editions[1].id}


def test_the_edition_of_a_row_that_an_answer_used_is_named_too(world: World):
    world.predicts(world.editions[4], row_edition=world.editions[0].id)
    assert world.retain().named[world.editions[0].id] == "an answer"


def test_the_prediction_window_moves_on(world: World):
    world.settings = RetentionSettings.model_validate({"editions": "2d", "predictions": "10d"})
    world.predicts(world.editions[0])
    world.clock.pass_(days=5)
    world.predicts(world.editions[1])
    assert set(world.retain().named.values()) == {"an answer", "the newest edition"}
    world.clock.pass_(days=6)
    assert world.retain().retired == (world.editions[0].id,)
    assert world.lake.read_table(world.editions[1], "features").num_rows == 4
    world.clock.pass_(days=5)
    assert world.retain().retired == (world.editions[1].id,)


def test_without_a_retention_nothing_is_retired(world: World):
    world.settings = RetentionSettings()
    with pytest.raises(ProjectError, match="has no `editions`"):
        world.retain()
    assert len(world.lake.list_editions("built")) == 5

"""From a landed edition to features, with its ports played by fakes: built, sealed, then online, in that order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.builders.recording_step import Died, RecordingStep
from wellspring.data.transform.build import BuildOutcome
from wellspring.errors import ProjectError, Refused
from wellspring.records.data import Edition, FeatureViews, TableSnapshot
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.workflows import transform as transform_module

SOURCE = TableSnapshot(table="claim", snapshot_id=1, rows=3)
MART = TableSnapshot(table="claim_features", snapshot_id=2, rows=2)


def edition(level: Any, *tables: TableSnapshot, parent: str | None = None) -> Edition:
    at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return Edition(
        tenant="acme", known_since=at, id=level[0] * 12, level=level, parent=parent, tables=tables, drops=("d",)
    )


LANDED = edition("landed", SOURCE)
BUILT = edition("built", SOURCE, MART, parent=LANDED.id)


class House:
    """What a transform touches; `did` says in which order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, die_at: str | None = None) -> None:
        self.did: list[str] = []
        self.unfinished: list[str] = []
        self.landed: Edition | None = LANDED
        self.step = RecordingStep(die_at=die_at)
        self.lake = SimpleNamespace(edition=lambda level="landed": self.landed if level == "landed" else None)
        self.sequencer = SimpleNamespace(integrate=lambda: self.did.append("integrate"))
        self.records: Any = SimpleNamespace(index=SimpleNamespace(entries=self.list_entries))
        self.project = SimpleNamespace(own={"features": folder / "features.py"}, root=folder, lake=folder, name="tiny")
        (folder / "features.py").write_text("# one\n")
        monkeypatch.setattr(transform_module, "recover_interrupted", lambda house: self.did.append("recover"))
        monkeypatch.setattr(
            transform_module, "seal_stories", lambda house, subjects: self.did.append(f"seal {subjects}")
        )
        monkeypatch.setattr(transform_module.building, "transform_edition", self.build)
        monkeypatch.setattr(transform_module.online, "materialize_views", self.materialize)
        monkeypatch.setattr(transform_module.views, "load_views", self.load)

    def load(self, source: Path, name: str) -> FeatureViews:
        self.did.append("features")
        return synthetic_world.views()

    def build(self, lake: Any, here: Any, landed: Edition, *, step: Any) -> BuildOutcome:
        assert landed == LANDED
        self.did.append("build")
        return BuildOutcome(BUILT, ("claim_features.paid",), True)

    def list_entries(self, *, action: str) -> list[IndexedEntry]:
        return [
            IndexedEntry(index=entry.sequence, entry=entry) for entry in self.step.entries if entry.action == action
        ]

    def materialize(
        self, lake: Any, views: Any, made: Edition, store: Any, *, step: Any, unfinished: list[Entry]
    ) -> dict[str, int]:
        assert made == BUILT
        self.did.append(f"online {store}")
        self.unfinished = [item.id for item in unfinished]
        with step("materialize", made.subject, intent=True):
            step.reached("materialize.view:written")
        return {"claim": 2}

    def transform(self, store: Any) -> transform_module.TransformResult:
        house: Any = self
        return transform_module.run_transform(house, store, progress=lambda *_: None)


def test_it_is_built_and_sealed_before_it_goes_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    house = House(tmp_path, monkeypatch)
    made = house.transform("valkey")
    built = ["build", "integrate", f"seal {[BUILT.subject]}"]
    assert house.did == ["recover", "features", *built, "online valkey", "integrate"]
    assert (made.edition, made.tables, made.newly_built) == (BUILT, (MART,), True)
    assert (made.leaks, made.online_rows) == (("claim_features.paid",), {"claim": 2})


def test_without_a_store_nothing_goes_online_and_no_view_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    house = House(tmp_path, monkeypatch)
    house.project.own = {}
    assert house.transform(None).online_rows == {}
    assert "features" not in house.did


def test_a_mistake_in_the_definitions_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def load(path: Path, _: str) -> Any:
        raise ProjectError(f"{path}:1: NameError", fix="edit it")

    house = House(tmp_path, monkeypatch)
    monkeypatch.setattr(transform_module.views, "load_views", load)
    with pytest.raises(ProjectError, match="NameError"):
        house.transform("valkey")
    assert house.did == ["recover"]


def test_before_anything_has_landed_nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    house = House(tmp_path, monkeypatch)
    house.landed = None
    with pytest.raises(Refused, match="nothing has landed"):
        house.transform("valkey")
    assert house.did == ["recover"]


def test_after_a_crash_behind_the_build_the_next_run_puts_it_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    house = House(tmp_path, monkeypatch, die_at="workflows.transform:built")
    with pytest.raises(Died):
        house.transform("valkey")
    assert "online valkey" not in house.did
    house.transform("valkey")
    assert "online valkey" in house.did


def test_after_a_crash_on_the_way_online_the_next_run_is_told_what_it_finishes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    house = House(tmp_path, monkeypatch, die_at="materialize.view:written")
    with pytest.raises(Died):
        house.transform("valkey")
    assert house.unfinished == []
    (intent,) = house.step.open_intents()
    house.transform("valkey")
    assert house.unfinished == [intent.entry.id]


def test_features_are_compiled_once_and_again_when_their_file_was_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    house: Any = House(tmp_path, monkeypatch)
    for _ in range(2):
        assert transform_module.load_project_views(house.project) == synthetic_world.views()
    assert house.did == ["features"]
    (tmp_path / "features.py").write_text("# two\n")
    transform_module.load_project_views(house.project)
    assert house.did == ["features", "features"]


def test_features_are_looked_for_where_the_project_says():
    here: Any = SimpleNamespace(own={}, root=Path("/nowhere"), name="tiny")
    with pytest.raises(ProjectError, match=r"no \[features\] section"):
        transform_module.load_project_views(here)


def test_before_the_first_build_there_is_no_built_edition(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    house: Any = House(tmp_path, monkeypatch)
    with pytest.raises(Refused, match="nothing has been built") as raised:
        transform_module.latest_built_edition(house)
    assert raised.value.fix == "run `wellspring transform`"
    house.lake.edition = lambda level: BUILT
    assert transform_module.latest_built_edition(house) == BUILT

"""From a landed edition to features, with its ports played by fakes: built, sealed, then online, in that order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.builders.recording_step import Died, RecordingStep
from tests.builders.workflow_editions import BUILT, LANDED, MART
from wellspring.data.features.views import bind_view_versions
from wellspring.data.transform.build import BuildOutcome, Transform
from wellspring.errors import ProjectError, Refused
from wellspring.records.features import FeatureViews
from wellspring.records.lake import Edition
from wellspring.records.trust import IndexedEntry
from wellspring.workflows import transform as transform_module
from wellspring.workflows.released_transform import ReleasedTransform

TRANSFORM = Transform("7" * 64)
VERSIONS = {"claim_features": "1" * 64, "provider_history": "2" * 64}


class ProjectFixture:
    """What a transform touches; `did` says in which order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, die_at: str | None = None) -> None:
        self.did: list[str] = []
        self.landed: Edition | None = LANDED
        self.step = RecordingStep(die_at=die_at)
        self.query_engine = "engine"
        self.project_code = "code"
        self.fence = "fence"
        self.lake = SimpleNamespace(get_edition=lambda level="landed": self.landed if level == "landed" else None)
        self.sequencer = SimpleNamespace(integrate=lambda: self.did.append("integrate"))
        self.ledger: Any = SimpleNamespace(index=SimpleNamespace(list_entries=self.list_entries))
        self.project = SimpleNamespace(
            source_paths={"features": folder / "features.py"}, root=folder, lake_dir=folder, name="tiny"
        )
        (folder / "features.py").write_text("# one\n")
        monkeypatch.setattr(transform_module, "recover_interrupted_ingests", lambda project: self.did.append("recover"))
        monkeypatch.setattr(
            transform_module, "seal_stories", lambda project, subjects: self.did.append(f"seal {subjects}")
        )
        monkeypatch.setattr(transform_module.build, "transform_edition", self.build)
        released = ReleasedTransform(TRANSFORM.digest, "r" * 12, is_on_disk=True)
        monkeypatch.setattr(transform_module, "load_released_transform", lambda platform, sources: released)
        monkeypatch.setattr(transform_module, "list_release_features", lambda platform: [])
        monkeypatch.setattr(transform_module.materialize, "materialize_views", self.materialize)
        monkeypatch.setattr(transform_module.view_process, "load_views", self.load)

    def load(self, source: Path, name: str, project_code: Any) -> FeatureViews:
        self.did.append("features")
        return synthetic_world.views()

    def build(
        self, lake: Any, project: Any, landed: Edition, transform: Any, *, sources: Any, engine: Any,
        project_code: Any, step: Any,
    ) -> BuildOutcome:  # fmt: skip
        assert (landed, engine, project_code) == (LANDED, self.query_engine, self.project_code)
        assert transform == TRANSFORM
        self.did.append("build")
        return BuildOutcome(BUILT, ("claim_features.paid",), True, VERSIONS)

    def list_entries(self, *, action: str) -> list[IndexedEntry]:
        return [
            IndexedEntry(index=entry.sequence, entry=entry) for entry in self.step.entries if entry.action == action
        ]

    def materialize(
        self, lake: Any, views: Any, built: Edition, store: Any, *, engine: Any, step: Any, fence: Any,
        warm: list[Any],
    ) -> dict[str, int]:  # fmt: skip
        assert (built, engine, fence, warm) == (BUILT, self.query_engine, self.fence, [])
        assert views == bind_view_versions(synthetic_world.views(), VERSIONS)
        self.did.append(f"online {store}")
        with step("materialize", built.subject, intent=True):
            step.crash_point("materialize.view:written")
        return {"claim": 2}

    def transform(self, store: Any) -> transform_module.TransformResult:
        project: Any = self
        return transform_module.run_transform(project, store, progress=lambda *_: None)


def test_it_is_built_and_sealed_before_it_goes_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    project = ProjectFixture(tmp_path, monkeypatch)
    built_value = project.transform("valkey")
    built = ["build", "integrate", f"seal {[BUILT.subject]}"]
    assert project.did == ["recover", "features", *built, "online valkey", "integrate", "integrate"]
    assert (built_value.edition, built_value.tables, built_value.newly_built) == (BUILT, (MART,), True)
    assert (built_value.leaks, built_value.online_rows) == (("claim_features.paid",), {"claim": 2})


def test_without_a_store_nothing_goes_online_and_no_view_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    project = ProjectFixture(tmp_path, monkeypatch)
    project.project.source_paths = {}
    assert project.transform(None).online_rows == {}
    assert "features" not in project.did


def test_an_error_in_the_definitions_is_reported_before_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def load(path: Path, *_: Any) -> Any:
        raise ProjectError(f"{path}:1: NameError", fix="edit it")

    project = ProjectFixture(tmp_path, monkeypatch)
    monkeypatch.setattr(transform_module.view_process, "load_views", load)
    with pytest.raises(ProjectError, match="NameError"):
        project.transform("valkey")
    assert project.did == ["recover"]


def test_before_anything_has_landed_nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    project = ProjectFixture(tmp_path, monkeypatch)
    project.landed = None
    with pytest.raises(Refused, match="no edition has landed"):
        project.transform("valkey")
    assert project.did == ["recover"]


def test_after_a_crash_behind_the_build_the_next_run_puts_it_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    project = ProjectFixture(tmp_path, monkeypatch, die_at="workflows.transform:built")
    with pytest.raises(Died):
        project.transform("valkey")
    assert "online valkey" not in project.did
    project.transform("valkey")
    assert "online valkey" in project.did


def test_after_a_crash_while_materializing_the_next_run_receives_the_open_intent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    project = ProjectFixture(tmp_path, monkeypatch, die_at="materialize.view:written")
    with pytest.raises(Died):
        project.transform("valkey")
    (intent,) = project.step.open_intents()
    project.transform("valkey")
    assert project.step.open_intents() == []
    (settled,) = [entry for entry in project.step.done("materialize") if entry.facts.get("recovered")]
    assert (settled.intent, settled.facts["finished_by"]) == (intent.entry.id, BUILT.subject)


def test_features_are_compiled_once_and_again_when_their_file_was_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    project: Any = ProjectFixture(tmp_path, monkeypatch)
    for _ in range(2):
        assert transform_module.load_project_views(project) == synthetic_world.views()
    assert project.did == ["features"]
    (tmp_path / "features.py").write_text("# two\n")
    transform_module.load_project_views(project)
    assert project.did == ["features", "features"]


def test_features_are_looked_for_where_the_project_says():
    project: Any = SimpleNamespace(project=SimpleNamespace(source_paths={}, root=Path("/nowhere"), name="tiny"))
    with pytest.raises(ProjectError, match=r"no \[features\] section"):
        transform_module.load_project_views(project)


def test_before_the_first_build_there_is_no_built_edition(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    project: Any = ProjectFixture(tmp_path, monkeypatch)
    with pytest.raises(Refused, match="no edition has been built") as raised:
        transform_module.latest_built_edition(project)
    assert raised.value.fix == "run `wellspring transform`"
    project.lake.get_edition = lambda level: BUILT
    assert transform_module.latest_built_edition(project) == BUILT

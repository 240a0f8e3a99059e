"""The kind `transform`: built beside what readers get, compared feature by feature, and never one person's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import synthetic_world
from tests.builders.changes import build_change
from wellspring.data.transform.build import BuildOutcome, Transform
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.features import FeatureViews
from wellspring.workflows.changes import transform as module
from wellspring.workflows.changes.port import ContentChange
from wellspring.workflows.changes.transform import TransformChange

KIND = TransformChange()
ENTITIES = ("a", "b", "c")


class World:
    """A landed edition, and the tables that two transforms build of it. builds: their code and whether it is newest."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.builds: list[Transform] = []
        self.landed: Any = SimpleNamespace(id="l" * 12)
        self.lake = self
        self.query_engine = self.project_code = self.step = None
        folder.joinpath("dbt").mkdir()
        folder.joinpath("dbt/dbt_project.yml").write_text("name: tiny")
        self.model = folder / "dbt/one.sql"
        self.model.write_text("select 1")
        self.project = SimpleNamespace(
            root=folder, lake_dir=folder / "lake", source_paths={"dbt": folder / "dbt", "features": folder}
        )
        monkeypatch.setattr(module.build, "transform_edition", self.build)
        monkeypatch.setattr(module, "load_edition_views", lambda _, edition: self.views(edition))
        monkeypatch.setattr(module.point_in_time, "latest_rows", lambda view, table, engine: table)

    def get_edition(self) -> Any:
        return self.landed

    def build(self, lake: Any, project: Any, landed: Any, transform: Any, **_: Any) -> BuildOutcome:
        self.builds.append(transform)
        edition: Any = SimpleNamespace(id=transform.digest, subject="edition:x")
        return BuildOutcome(edition, (), True)

    def views(self, edition: Any) -> FeatureViews:
        defined = synthetic_world.views()
        changed = [
            view.model_copy(update={"version": edition.id[:12]}) if view.name == "provider_history" else view
            for view in defined.views
        ]
        return defined.model_copy(update={"views": tuple(changed)})

    def open_table(self, edition: Any, table: str) -> pa.Table:
        rate = 0.25 if edition.id == self.builds[0].digest else 0.5
        return pa.table(
            {
                "billing_npi": list(ENTITIES),
                "denial_rate_30d": [rate] * len(ENTITIES),
                "claims_30d": pa.array([1, 2, 3], pa.int64()),
            }
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return World(tmp_path, monkeypatch)


def test_a_draft_builds_beside_what_readers_get_and_names_the_changed_feature(world: Any):
    live = KIND.store_content(world, "project")
    world.model.write_text("select 2")
    content = KIND.store_content(world, "project")
    draft = KIND.describe_change(world, ContentChange("project", live, content))
    assert (draft.needs_second_person, draft.content) == (True, content)
    assert [build.is_newest for build in world.builds] == [False, False]
    assert draft.summary == (
        "dbt code: one.sql",
        "view provider_history: 3 -> 3 rows, 1 of its features differ",
        "feature provider_history.denial_rate_30d: 3 of 3 rows differ, mean 0.5 -> mean 0.25",
        f"compared on the newest landed edition {'l' * 12}",
    )
    details: Any = draft.details
    assert [view["view"] for view in details["views"]] == ["provider_history"]


def test_the_first_code_has_nothing_to_be_compared_with(world: Any):
    content = KIND.store_content(world, "project")
    draft = KIND.describe_change(world, ContentChange("project", None, content))
    assert draft.summary[0] == "features: no view has another version"
    world.landed = None
    with pytest.raises(Refused, match="no edition has landed"):
        KIND.describe_change(world, ContentChange("project", None, content))


def test_code_that_is_not_kept_whole_cannot_go_live(world: Any):
    content = KIND.store_content(world, "project")
    change = build_change("transform", "project", content=content)
    KIND.check_change(world, change)
    KIND.apply_change(world, change)
    for path in (world.project.lake_dir / "transforms").rglob("*"):
        if path.is_file() and path.read_bytes() == b"select 1":
            path.unlink()
    with pytest.raises((NotFound, CorruptedError)):
        KIND.check_change(world, change)
    assert KIND.list_names(world.project) == ("project",)

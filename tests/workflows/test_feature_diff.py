"""The features of a candidate beside those of the live release: only views in another version are read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import synthetic_world
from tests.builders.approvals import release as make_release
from tests.builders.feature_views import rows
from tests.builders.workflow_editions import BUILT, LANDED
from wellspring.bootstrap.lake_ports import open_transform_sources
from wellspring.data.features.views import bind_view_versions, save_views
from wellspring.errors import NotFound
from wellspring.models.releases.candidates import save_candidate
from wellspring.models.releases.store import ReleaseStore
from wellspring.workflows.feature_diff import diff_release_features

OLD = {"claim_features": "1" * 64, "provider_history": "2" * 64}
NEW = {**OLD, "provider_history": "3" * 64}


class PlatformFixture:
    """A project with two transforms, a live release of the first and a candidate of the second."""

    def __init__(self, folder: Path) -> None:
        settings = SimpleNamespace(engine="duckdb", options={})
        self.project: Any = SimpleNamespace(models_dir=folder / "models", lake_dir=folder / "lake", query=settings)
        views = [bind_view_versions(synthetic_world.views(), versions) for versions in (OLD, NEW)]
        for item in views:
            save_views(item, folder / "lake/views")
        sources, self.transforms = open_transform_sources(self.project), list[str]()
        for text in ("select 1", "select 2"):
            (folder / "dbt").mkdir(exist_ok=True)
            (folder / "dbt/a.sql").write_text(text)
            self.transforms.append(sources.save(folder / "dbt"))
        self.store = ReleaseStore(folder / "models")
        self.live = self.store.save(make_release(views=views[0].digest, transform=self.transforms[0]))
        self.store.set_live(self.live)
        self.candidate = synthetic_world.candidate(views=views[1].digest, transform=self.transforms[1])
        save_candidate(self.candidate, paths=self.store.paths)
        self.builds: dict[str, Any] = {
            transform: BUILT.model_copy(update={"id": f"{number}" * 12})
            for number, transform in enumerate(self.transforms)
        }
        self.history = next(view for view in views[0].views if view.name == "provider_history")
        self.read: list[str] = []
        built_tables = SimpleNamespace(find_build=lambda landed, transform: self.builds.get(transform))
        self.lake = SimpleNamespace(get_edition=lambda: LANDED, built_tables=built_tables, open_table=self.open_table)

    def open_table(self, edition: Any, name: str) -> pa.Table:
        self.read.append(f"{name} {edition.id}")
        rate = 0.5 if edition.id == "0" * 12 else 0.25
        return rows(self.history, [{"billing_npi": "provider_k1_" + "a" * 26, "denial_rate_30d": rate}])


@pytest.fixture
def platform(tmp_path: Path) -> PlatformFixture:
    return PlatformFixture(tmp_path)


def test_only_views_in_another_version_are_compared(platform: PlatformFixture):
    project: Any = platform
    result = diff_release_features(project, platform.candidate.id)
    assert (result.subject, result.live, result.landed) == (platform.candidate.subject, platform.live.id, LANDED.id)
    assert (result.code, result.unchanged) == (("a.sql",), ("claim",))
    (view,) = result.views
    assert [(feature.feature, feature.changed) for feature in view.features] == [("denial_rate_30d", 1)]
    assert platform.read == [f"provider_history {'0' * 12}", f"provider_history {'1' * 12}"]


def test_the_live_release_does_not_differ_from_itself(platform: PlatformFixture):
    project: Any = platform
    result = diff_release_features(project, platform.live.id)
    assert (result.subject, result.code, result.views) == (platform.live.subject, (), ())
    assert result.unchanged == ("claim", "provider_history")


def test_without_a_build_of_the_newest_data_it_is_said_what_to_do(platform: PlatformFixture):
    project: Any = platform
    del platform.builds[platform.transforms[0]]
    with pytest.raises(NotFound, match="has not built the newest landed edition") as error:
        diff_release_features(project, platform.candidate.id)
    assert "wellspring transform" in error.value.fix
    with pytest.raises(NotFound):
        diff_release_features(project, "0" * 12)


def test_without_a_live_release_there_is_nothing_to_compare_with(platform: PlatformFixture):
    project: Any = platform
    (platform.project.models_dir / "live/denials").unlink()
    assert diff_release_features(project, platform.candidate.id).live == ""

"""The features of warm releases: from the newest build if it has their versions, else from a build of their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.builders.approvals import release as make_release
from tests.builders.recording_step import RecordingStep
from tests.builders.workflow_editions import BUILT, LANDED
from wellspring.data.features.views import bind_view_versions
from wellspring.data.transform.build import BuildOutcome, Transform
from wellspring.errors import ProjectError, Unavailable
from wellspring.records.features import FeatureViews
from wellspring.workflows import warm_releases as module
from wellspring.workflows.warm_releases import NewestBuild, ReleaseFeatures, WarmRelease

OLD = {"claim_features": "1" * 64, "provider_history": "2" * 64}
NEW = {**OLD, "claim_features": "3" * 64}
OLD_VIEWS, NEW_VIEWS = (bind_view_versions(synthetic_world.views(), versions) for versions in (OLD, NEW))
NEWEST = NewestBuild(LANDED, BUILT, NEW_VIEWS)
OWN = BUILT.model_copy(update={"id": "9" * 12})
SOURCES: Any = "sources"


class PlatformFixture:
    """What a refresh touches; `did` says in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.did: list[str] = []
        self.built = OLD
        self.lake, self.query_engine, self.project_code, self.fence = "lake", "engine", "code", "fence"
        self.step = RecordingStep()
        self.sequencer = SimpleNamespace(integrate=lambda: self.did.append("integrate"))
        self.project = SimpleNamespace(models_dir=folder)
        monkeypatch.setattr(module, "seal_stories", lambda platform, subjects: self.did.append(f"seal {subjects}"))
        monkeypatch.setattr(module.build, "transform_edition", self.build)
        monkeypatch.setattr(module.materialize, "materialize_views", self.materialize)

    def build(self, lake: Any, project: Any, landed: Any, transform: Any, *, sources: Any, **_: Any) -> BuildOutcome:
        assert (landed, sources) == (LANDED, SOURCES)
        assert transform == Transform(RELEASE.transform, is_newest=False)
        self.did.append("build")
        return BuildOutcome(OWN, (), True, self.built)

    def materialize(
        self, lake: Any, views: FeatureViews, edition: Any, store: Any, *, warm: Any, newest: bool, **_: Any
    ) -> dict[str, int]:
        assert not newest
        # Of all that is warm, and of the newest build, the rows stay.
        assert all(view in warm for view in (*NEW_VIEWS.views, *views.views))
        self.did.append(f"online {views.digest == OLD_VIEWS.digest} {[view.name for view in views.views]} {edition.id}")
        return {}

    def refresh(self, *used: str) -> tuple[WarmRelease, ...]:
        project: Any = self
        online: Any = "online"
        return module.refresh_releases(project, online, NEWEST, [features(*used)], SOURCES)


RELEASE = make_release(views=OLD_VIEWS.digest)


def features(*used: str) -> ReleaseFeatures:
    views = tuple(view for view in OLD_VIEWS.views if view.name in used)
    return ReleaseFeatures(RELEASE, OLD_VIEWS.model_copy(update={"views": views}))


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlatformFixture:
    return PlatformFixture(monkeypatch, tmp_path)


def test_a_release_of_the_newest_versions_is_fresh_already(platform: PlatformFixture):
    current = ReleaseFeatures(make_release(views=NEW_VIEWS.digest), NEW_VIEWS)
    project: Any = platform
    online: Any = "online"
    (fresh,) = module.refresh_releases(project, online, NEWEST, [current], SOURCES)
    assert (fresh.edition, fresh.built, fresh.problem, platform.did) == (BUILT.id, False, "", [])


def test_a_release_whose_views_did_not_change_needs_no_build(platform: PlatformFixture):
    (fresh,) = platform.refresh("provider_history")
    assert (fresh.edition, fresh.built, fresh.problem) == (BUILT.id, False, "")
    assert platform.did == [f"online True ['provider_history'] {BUILT.id}", "integrate"]


def test_a_release_of_other_sql_is_built_with_its_own_transform(platform: PlatformFixture):
    (fresh,) = platform.refresh("claim", "provider_history")
    assert (fresh.edition, fresh.built, fresh.problem) == (OWN.id, True, "")
    sealed = ["build", "integrate", f"seal {[OWN.subject]}"]
    assert platform.did == [*sealed, f"online True ['claim', 'provider_history'] {OWN.id}", "integrate"]


def test_sql_that_compiles_to_another_text_is_never_put_online(platform: PlatformFixture):
    platform.built = {**OLD, "claim_features": "4" * 64}
    (stale,) = platform.refresh("claim", "provider_history")
    assert "the SQL of claim compiles to another text" in stale.problem
    assert platform.did == ["build"]


def test_the_error_of_one_release_stops_no_other_and_is_raised_for_a_live_one(
    platform: PlatformFixture, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any, **__: Any) -> BuildOutcome:
        raise ProjectError("a column is gone", fix="restore it")

    monkeypatch.setattr(module.build, "transform_edition", fail)
    project: Any = platform
    (stale,) = platform.refresh("claim")
    assert stale.problem == "a column is gone"
    module.require_fresh(project, [stale])
    live = SimpleNamespace(live_id=lambda model: RELEASE.id)
    monkeypatch.setattr(module, "ReleaseStore", lambda folder: live)
    with pytest.raises(Unavailable, match=f"release:{RELEASE.id} of denials answers from older features"):
        module.require_fresh(project, [stale])

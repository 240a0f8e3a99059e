"""Keep the features of releases fresh: each release that may answer has its own versions of the views online."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap import open_model_store
from wellspring.data.features import materialize, views
from wellspring.data.transform import build
from wellspring.errors import Refused, Unavailable, WellspringError
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.releases.warm import list_warm_releases
from wellspring.records.record import Frozen
from wellspring.workflows.prove import seal_stories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellspring.bootstrap import Platform
    from wellspring.data.transform.transform_sources import TransformSources
    from wellspring.records.features import FeatureViews, FeatureViewSpec
    from wellspring.records.lake import Edition
    from wellspring.records.models import Release
    from wellspring.stores.online.port import OnlineWriter


class WarmRelease(Frozen):
    """A release whose features were made fresh. edition: which they are from; built: whether it was built for this.

    problem: why they could not be made fresh, or ''.
    """

    release: str
    model: str
    edition: str = ""
    built: bool = False
    problem: str = ""


class NewestBuild(NamedTuple):
    """What the newest transform built of a landed edition. views: bound to it, and online."""

    landed: Edition
    edition: Edition
    views: FeatureViews


class ReleaseFeatures(NamedTuple):
    """The views that a release reads, in the versions that it pins. views: with the digest of its whole set."""

    release: Release
    views: FeatureViews

    @property
    def versions(self) -> tuple[FeatureViewSpec, ...]:
        return self.views.views


def list_release_features(platform: Platform) -> list[ReleaseFeatures]:
    """List the warm releases, with their views; the live ones first."""
    models = platform.project.models
    if models is None:
        return []
    store = ReleaseStore(platform.project.models_dir)
    releases = list_warm_releases(platform.ledger.index, store, keep_warm=models.keep_warm)
    return [find_release_features(platform, release) for release in releases]


def find_release_features(platform: Platform, release: Release) -> ReleaseFeatures:
    """Return the views that a release reads. Raises NotFound, CorruptedError."""
    spec = open_model_store(platform).read_artifact(release.artifact).spec
    pinned = views.load_views_by_digest(platform.project.lake_dir / "views", release.views)
    used = tuple(view for view in pinned.views if view.name in spec.keys)
    return ReleaseFeatures(release, pinned.model_copy(update={"views": used}))


def refresh_releases(
    platform: Platform,
    online_store: OnlineWriter,
    newest: NewestBuild,
    warm: Sequence[ReleaseFeatures],
    sources: TransformSources,
) -> tuple[WarmRelease, ...]:
    """Make the features of releases fresh from the landed edition of the newest build. One's error stops no other."""
    refreshed: list[WarmRelease] = []
    for features in warm:
        release = features.release
        if release.views == newest.views.digest:
            refreshed.append(WarmRelease(release=release.id, model=release.model, edition=newest.edition.id))
            continue
        try:
            refreshed.append(refresh_release(platform, online_store, newest, features, warm, sources))
        except WellspringError as exc:
            refreshed.append(WarmRelease(release=release.id, model=release.model, problem=exc.what))
    return tuple(refreshed)


def refresh_release(
    platform: Platform,
    online_store: OnlineWriter,
    newest: NewestBuild,
    features: ReleaseFeatures,
    warm: Sequence[ReleaseFeatures],
    sources: TransformSources,
) -> WarmRelease:
    """Make the features of one release fresh: from the newest build if it has their versions, else from one of its own.

    Raises Refused when the release's transform no longer gives the versions that it pins, and the errors of a build.
    """
    release, edition, is_built = features.release, newest.edition, False
    current = {view.name: view.version for view in newest.views.views}
    if any(current.get(view.name) != view.version for view in features.versions):
        outcome = build.transform_edition(
            platform.lake,
            platform.project,
            newest.landed,
            build.Transform(release.transform, is_newest=False),
            sources=sources,
            engine=platform.query_engine,
            project_code=platform.project_code,
            step=platform.step,
        )
        edition, is_built = outcome.edition, outcome.newly_built
        _require_pinned_versions(features, views.bind_view_versions(features.views, outcome.versions))
        platform.sequencer.integrate()
        seal_stories(platform, [edition.subject])
    materialize.materialize_views(
        platform.lake,
        features.views,
        edition,
        online_store,
        engine=platform.query_engine,
        step=platform.step,
        fence=platform.fence,
        warm=[view for item in warm for view in item.versions] + list(newest.views.views),
        newest=False,
    )
    platform.sequencer.integrate()
    return WarmRelease(release=release.id, model=release.model, edition=edition.id, built=is_built)


def require_fresh(platform: Platform, refreshed: Sequence[WarmRelease]) -> None:
    """Raise Unavailable if the features of a live release could not be made fresh."""
    problems = [item for item in refreshed if item.problem]
    if not problems:
        return
    store = ReleaseStore(platform.project.models_dir)
    if stale := [item for item in problems if store.live_id(item.model) == item.release]:
        raise Unavailable(
            "\n".join(
                f"release:{item.release} of {item.model} answers from older features: {item.problem}" for item in stale
            ),
            fix="mend it and run `wellspring transform` again, or release a model on the newest transform",
        )


def _require_pinned_versions(features: ReleaseFeatures, rebuilt: FeatureViews) -> None:
    versions = {view.name: view.version for view in rebuilt.views}
    if changed := [view.name for view in features.versions if versions[view.name] != view.version]:
        raise Refused(
            f"the SQL of {', '.join(changed)} compiles to another text than for {features.release.subject}",
            fix="release a model on the newest transform; SQL that depends on the data cannot be pinned",
        )

"""What the approver of a release sees of its features: how they differ from those of the live release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data.features import point_in_time, views
from wellspring.data.features.feature_diff import ViewDiff, ViewRows, diff_view
from wellspring.errors import NotFound
from wellspring.models.releases import candidates
from wellspring.models.releases.store import ReleaseStore
from wellspring.query.registry import open_query_engine
from wellspring.records.record import Digest, Frozen

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform, ReadPorts
    from wellspring.query.port import QueryEngine
    from wellspring.records.features import FeatureViewSpec
    from wellspring.records.lake import Edition


class ReleaseFeatureDiff(Frozen):
    """The features of a candidate or a release beside those of the live release, on the newest landed edition.

    live: its id, or '' for a model without one. code: files of the dbt project that were added, removed or changed.
    unchanged: names of the views in the same version.
    """

    subject: str
    model: str
    live: str
    landed: str
    code: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    views: tuple[ViewDiff, ...] = ()


def diff_release_features(platform: Platform | ReadPorts, name: str) -> ReleaseFeatureDiff:
    """Compare the features of a candidate or a release with those of the live release of its model.

    Raises NotFound for another name, or while the features of either were not built from the newest landed edition.
    """
    from wellspring.bootstrap.lake_ports import open_transform_sources

    store = ReleaseStore(platform.project.models_dir)
    subject, model, pinned, transform = _find_subject(store, name)
    live, landed = store.get_live(model), platform.lake.get_edition()
    if landed is None or live is None:
        return ReleaseFeatureDiff(subject=subject, model=model, live="", landed="" if landed is None else landed.id)
    folder = platform.project.lake_dir / "views"
    before = views.load_views_by_digest(folder, live.views)
    after = views.load_views_by_digest(folder, pinned)
    sources = open_transform_sources(platform.project)
    engine = open_query_engine(platform.project.query.engine, platform.project.query.options)
    files = [sources.list_files(digest) for digest in (live.transform, transform)]
    code = sorted(path for path in files[0].keys() | files[1].keys() if files[0].get(path) != files[1].get(path))
    changed = [
        (former, view)
        for view in after.views
        if (former := before.find_view(view.name)) is not None and former.version != view.version
    ]
    diffs: list[ViewDiff] = []
    if changed:
        live_edition, edition = (_find_build(platform, landed, digest) for digest in (live.transform, transform))
        diffs = [
            diff_view(_read_rows(platform, live_edition, former, engine), _read_rows(platform, edition, view, engine))
            for former, view in changed
        ]
    return ReleaseFeatureDiff(
        subject=subject,
        model=model,
        live=live.id,
        landed=landed.id,
        code=tuple(code),
        unchanged=tuple(view.name for view in after.views if before.find_view(view.name) == view),
        views=tuple(diffs),
    )


def _find_subject(store: ReleaseStore, name: str) -> tuple[str, str, Digest, Digest]:
    """Return subject, model, views and transform of a release or a candidate. Raises NotFound."""
    try:
        release = store.get(name)
        return release.subject, release.model, release.views, release.transform
    except NotFound:
        candidate = candidates.read_candidate(name, paths=store.paths)
        return candidate.subject, candidate.model, candidate.views, candidate.transform


def _find_build(platform: Platform | ReadPorts, landed: Edition, transform: Digest) -> Edition:
    built = platform.lake.built_tables.find_build(landed, transform)
    if built is None:
        raise NotFound(
            f"the transform {transform[:12]} has not built the newest landed edition {landed.id}",
            fix="run `wellspring transform`, which builds it for the newest code and for warm releases",
        )
    return built


def _read_rows(
    platform: Platform | ReadPorts, edition: Edition, view: FeatureViewSpec, engine: QueryEngine
) -> ViewRows:
    return ViewRows(view, point_in_time.latest_rows(view, platform.lake.open_table(edition, view.table), engine=engine))

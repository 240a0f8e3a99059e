"""Transformation: builds and publishes the tables of a landed edition, then writes the features online."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap.lake_ports import open_transform_sources
from wellspring.data.features import materialize, view_process, views
from wellspring.data.transform import build
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused
from wellspring.lake.built_tables import CODE_PROPERTY, VERSION_PROPERTY
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.training.run_record import compute_environment_digest
from wellspring.project import PROJECT_FILE
from wellspring.records.features import FeatureViews
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.record import Frozen
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.workflows.ingest import WorkflowProgress, recover_interrupted_ingests
from wellspring.workflows.prove import seal_stories
from wellspring.workflows.released_transform import adopt_transform, load_released_transform
from wellspring.workflows.warm_releases import (
    NewestBuild,
    WarmRelease,
    find_release_features,
    list_release_features,
    refresh_release,
    refresh_releases,
    require_fresh,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wellspring.bootstrap import Platform, ReadPorts
    from wellspring.data.transform.transform_sources import TransformSources
    from wellspring.records.record import Digest
    from wellspring.stores.online.port import OnlineWriter


class TransformResult(Frozen):
    """The result of one run of `transform`.

    tables: the built tables, without the landed ones. newly_built: whether this run built the edition. leaks: columns
    (`table.column`) that use future information. online_rows: number of rows by view. versions: of the views. warm: the
    warm releases, whose features were made fresh too. release: of the dbt code that was built; is_on_disk: whether the
    project's folder holds the same code.
    """

    edition: Edition
    tables: tuple[TableSnapshot, ...]
    newly_built: bool
    leaks: tuple[str, ...]
    online_rows: dict[str, int]
    versions: dict[str, str] = {}
    warm: tuple[WarmRelease, ...] = ()
    release: str = ""
    is_on_disk: bool = True


def run_transform(
    platform: Platform, online_store: OnlineWriter | None, *, progress: WorkflowProgress
) -> TransformResult:
    """Build and publish the newest landed edition, and write its newest features to the online store, if there is one.

    The features of the warm releases are built with their own transforms. Raises Refused before the
    first landed edition, the errors of the build and of the store, and Unavailable at the end if the features of a live
    release could not be made fresh.
    """
    recover_interrupted_ingests(platform)
    landed = platform.lake.get_edition()
    if landed is None:
        raise Refused("no edition has landed yet", fix="run `wellspring ingest`")
    # Report errors in the definitions before publishing tables that they cannot serve.
    feature_views = load_project_views(platform) if online_store is not None else None
    progress("build", 0, 1)
    sources = open_transform_sources(platform.project)
    released = load_released_transform(platform, sources)
    build_outcome = build.transform_edition(
        platform.lake,
        platform.project,
        landed,
        build.Transform(released.content),
        sources=sources,
        engine=platform.query_engine,
        project_code=platform.project_code,
        step=platform.step,
    )
    platform.step.crash_point("workflows.transform:built")
    # Code that does not build is never adopted.
    release = released.release or adopt_transform(platform, released.content)
    platform.sequencer.integrate()
    seal_stories(platform, [build_outcome.edition.subject])
    progress("online", 0, 1)
    online = _OnlineResult({}, {}, ())
    if online_store is not None and feature_views is not None:
        bound = save_bound_views(platform, feature_views, build_outcome.versions)
        online = _write_online(platform, online_store, NewestBuild(landed, build_outcome.edition, bound), sources)
    landed_tables = set(landed.tables)
    built_tables = tuple(
        table_snapshot for table_snapshot in build_outcome.edition.tables if table_snapshot not in landed_tables
    )
    return TransformResult(
        edition=build_outcome.edition,
        tables=built_tables,
        newly_built=build_outcome.newly_built,
        leaks=build_outcome.leaks,
        online_rows=online.rows,
        versions=online.versions,
        warm=online.warm,
        release=release,
        is_on_disk=released.is_on_disk,
    )


class _OnlineResult(NamedTuple):
    rows: dict[str, int]
    versions: dict[str, str]
    warm: tuple[WarmRelease, ...]


def _write_online(
    platform: Platform, online_store: OnlineWriter, newest: NewestBuild, sources: TransformSources
) -> _OnlineResult:
    """Write the features of the newest build, then those of the warm releases."""
    warm = list_release_features(platform)
    # This edition is the newest: materializing it and the warm releases also completes all interrupted ones.
    unfinished = materialize.unfinished_materializations(platform.ledger.index.list_entries(action="materialize"))
    row_counts = materialize.materialize_views(
        platform.lake,
        newest.views,
        newest.edition,
        online_store,
        engine=platform.query_engine,
        step=platform.step,
        fence=platform.fence,
        warm=[view for features in warm for view in features.versions],
    )
    platform.sequencer.integrate()
    refreshed = refresh_releases(platform, online_store, newest, warm, sources)
    materialize.complete_unfinished(unfinished, newest.edition, step=platform.step)
    platform.sequencer.integrate()
    require_fresh(platform, refreshed)
    return _OnlineResult(row_counts, {view.name: view.version for view in newest.views.views}, refreshed)


def refresh_features(
    platform: Platform, online_store: OnlineWriter, release_id: str, *, progress: WorkflowProgress
) -> WarmRelease:
    """Make the features of a release fresh, so that it can answer: a rollback to a release that is not warm needs it.

    Raises NotFound for an unknown release, Refused before the first build, and the errors of a build.
    """
    recover_interrupted_ingests(platform)
    release = ReleaseStore(platform.project.models_dir).get(release_id)
    edition = latest_built_edition(platform)
    landed = platform.lake.get_edition(edition.parent)
    assert landed is not None  # get_edition returns None only without an id
    newest = NewestBuild(landed, edition, load_edition_views(platform, edition))
    features, warm = find_release_features(platform, release), list_release_features(platform)
    progress("online", 0, 1)
    refreshed = refresh_release(
        platform, online_store, newest, features, [*warm, features], open_transform_sources(platform.project)
    )
    platform.sequencer.integrate()
    return refreshed


def save_bound_views(
    platform: Platform, feature_views: FeatureViews, table_versions: Mapping[str, Digest]
) -> FeatureViews:
    """Bind views to the tables of a build, and store them: releases refer to them by digest."""
    bound = views.bind_view_versions(feature_views, table_versions)
    views.save_views(bound, platform.project.lake_dir / "views")
    return bound


def load_edition_views(platform: Platform, edition: Edition) -> FeatureViews:
    """Return the project's feature views, bound to the tables of a built edition."""
    properties = platform.lake.built_tables.snapshot_properties(edition)
    versions = {table: values.get(VERSION_PROPERTY, "") for table, values in properties.items()}
    return save_bound_views(platform, load_project_views(platform), versions)


def find_edition_transform(platform: Platform, edition: Edition) -> Digest:
    """Return the digest of the dbt project that built an edition. Raises CorruptedError if no table names it."""
    for values in platform.lake.built_tables.snapshot_properties(edition).values():
        if transform := values.get(CODE_PROPERTY):
            return transform
    raise CorruptedError(f"the tables of {edition.subject} do not name their dbt project", fix="build it again")


def load_project_views(platform: Platform) -> FeatureViews:
    """Return the project's compiled feature views. Raises ProjectError without a [features] section.

    Importing Feast takes seconds, so compiled views are cached by the content of the definitions file and the
    digest of the environment, any package of which the file may import.
    """
    project = platform.project
    if "features" not in project.source_paths:
        raise ProjectError(
            f"{project.root / PROJECT_FILE} has no [features] section", fix="add the section and a definitions file"
        )
    definitions_file, view_files = project.source_paths["features"], DiskBlobStore(project.lake_dir / "views")
    if not definitions_file.is_file():
        return view_process.load_views(definitions_file, project.name, platform.project_code)
    cache_key = f"{project.name} {compute_environment_digest()} ".encode() + definitions_file.read_bytes()
    name = f"compiled/{hashlib.sha256(cache_key).hexdigest()}"
    try:
        return views.load_views_by_digest(view_files.folder, view_files.read(name).decode("ascii"))
    except NotFound:
        feature_views = view_process.load_views(definitions_file, project.name, platform.project_code)
        views.save_views(feature_views, view_files.folder)
        view_files.write_once(name, feature_views.digest.encode())
        return feature_views


def latest_built_edition(platform: Platform | ReadPorts) -> Edition:
    """Return the newest built edition. Raises Refused before the first one."""
    edition = platform.lake.get_edition(level="built")
    if edition is None:
        raise Refused("no edition has been built yet", fix="run `wellspring transform`")
    return edition

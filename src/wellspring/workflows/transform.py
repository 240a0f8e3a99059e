"""Transformation: builds and publishes the tables of a landed edition, then writes the features online."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wellspring.data.features import materialize, view_process, views
from wellspring.data.transform import build
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.models.training.train import compute_environment_digest
from wellspring.project import PROJECT_FILE
from wellspring.records.features import FeatureViews
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.record import Frozen
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.workflows.ingest import WorkflowProgress, recover_interrupted_ingests
from wellspring.workflows.prove import seal_stories

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform, ReadPorts
    from wellspring.stores.online.port import OnlineWriter


class TransformResult(Frozen):
    """The result of one run of `transform`.

    tables: the built tables, without the landed ones. newly_built: whether this run built the edition. leaks: columns
    (`table.column`) that use future information. online_rows: number of rows by view.
    """

    edition: Edition
    tables: tuple[TableSnapshot, ...]
    newly_built: bool
    leaks: tuple[str, ...]
    online_rows: dict[str, int]


def run_transform(
    platform: Platform, online_store: OnlineWriter | None, *, progress: WorkflowProgress
) -> TransformResult:
    """Build and publish the newest landed edition, and write its newest features to the online store, if there is one.

    Raises Refused before the first landed edition, and the errors of the build and of the store.
    """
    recover_interrupted_ingests(platform)
    landed = platform.lake.get_edition()
    if landed is None:
        raise Refused("no edition has landed yet", fix="run `wellspring ingest`")
    # Report errors in the definitions before publishing tables that they cannot serve.
    feature_views = load_project_views(platform) if online_store is not None else None
    progress("build", 0, 1)
    build_outcome = build.transform_edition(
        platform.lake,
        platform.project,
        landed,
        engine=platform.query_engine,
        project_code=platform.project_code,
        step=platform.step,
    )
    platform.step.crash_point("workflows.transform:built")
    platform.sequencer.integrate()
    seal_stories(platform, [build_outcome.edition.subject])
    progress("online", 0, 1)
    row_counts: dict[str, int] = {}
    if online_store is not None and feature_views is not None:
        # This edition is the newest: materializing it also completes all interrupted ones.
        unfinished = materialize.unfinished_materializations(platform.ledger.index.list_entries(action="materialize"))
        row_counts = materialize.materialize_views(
            platform.lake,
            feature_views,
            build_outcome.edition,
            online_store,
            engine=platform.query_engine,
            step=platform.step,
            fence=platform.fence,
            unfinished=unfinished,
        )
        platform.sequencer.integrate()
    landed_tables = set(landed.tables)
    built_tables = tuple(
        table_snapshot for table_snapshot in build_outcome.edition.tables if table_snapshot not in landed_tables
    )
    return TransformResult(
        edition=build_outcome.edition,
        tables=built_tables,
        newly_built=build_outcome.newly_built,
        leaks=build_outcome.leaks,
        online_rows=row_counts,
    )


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

"""Queries: row accounts, candidates, releases, the history of a model, enrolled users, newest keys, label values."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.features.views import load_views_by_digest
from wellspring.data.intake.drop_index import add_published
from wellspring.errors import NotFound, suggest_name
from wellspring.models.releases.candidates import list_candidates, read_candidate
from wellspring.models.releases.deployments import find_deployment
from wellspring.models.releases.history import ReleasePeriod, list_release_periods
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.releases.warm import list_warm_releases
from wellspring.models.spec.artifact import read_artifact
from wellspring.models.spec.definition import list_models
from wellspring.records.ingestion import RowAccount
from wellspring.records.record import format_instant
from wellspring.trust.modes import find_mode_period
from wellspring.workflows.transform import latest_built_edition

if TYPE_CHECKING:
    from wellspring.bootstrap import LedgerReader, Platform, ReadPorts
    from wellspring.models.training.ports import ModelStore
    from wellspring.records.models import Candidate, Release
    from wellspring.trust.ledger.index import LedgerIndex


class AccountSummary(NamedTuple):
    """Row accounts by drop, the sum of those of all drops, and the number of all drops."""

    accounts: dict[str, RowAccount]
    total: RowAccount
    drops: int


class CandidateSummary(NamedTuple):
    """A candidate in a list. evaluated_against_live: whether its gate compared it with the present live release."""

    model: str
    id: str
    run: str
    edition: str
    outcome: str
    task: str
    metric: str
    value: float | None
    created_at: str
    evaluated_against_live: bool


class ReleaseSummary(NamedTuple):
    """A release in a list, with the users whose proposal and approval count. warm: its features are kept fresh.

    mode: of the project at the newest approval; '' without one. An approval of development does not count once the
    project is governed.
    challenger_share: of the requests, as decimal text, that it answers as the challenger; '' for another release.
    """

    model: str
    id: str
    candidate: str
    proposed_by: str
    approved_by: str
    live: bool
    evaluated_against_live: bool
    mode: str = ""
    warm: bool = False
    challenger_share: str = ""


def list_row_accounts(platform: Platform | ReadPorts, *, limit: int | None = None) -> AccountSummary:
    """Count the rows of each drop by state, in the order in which the drops landed, and of all drops together.

    limit: only so many of the newest drops, and of the oldest ones with waiting rows; the sum has all drops.
    """
    drops, parts = platform.drops, platform.lake.index_parts()
    listed = drops.list_drops(newest=limit)
    if limit is not None:
        listed = [*dict.fromkeys([*drops.list_waiting_drops(oldest=limit), *listed])]
    accounts = {
        f"drop:{drop}": add_published(account, parts.count_drop_rows(drop).published)
        for drop, account in drops.list_accounts(listed).items()
    }
    total = add_published(drops.sum_accounts(), parts.count_published_rows())
    return AccountSummary(accounts, total, drops.count_drops())


def list_candidate_summaries(ledger: LedgerReader) -> list[CandidateSummary]:
    """List the candidates of all models, oldest first."""
    release_store = ReleaseStore(ledger.project.models_dir)
    candidates = [
        read_candidate(candidate_id, paths=release_store.paths) for candidate_id in list_candidates(release_store.paths)
    ]
    candidates.sort(key=lambda candidate: (candidate.known_since, candidate.id))
    return [_summarize_candidate(candidate, release_store, ledger.index) for candidate in candidates]


def list_release_summaries(ledger: LedgerReader) -> list[ReleaseSummary]:
    """List the releases of all models, oldest first."""
    release_store = ReleaseStore(ledger.project.models_dir)
    releases = [release_store.get(release_id) for release_id in release_store.list_ids()]
    releases.sort(key=lambda release: (release.known_since, release.id))
    keep_warm = ledger.project.models.keep_warm if ledger.project.models is not None else 0
    warm = {release.id for release in list_warm_releases(ledger.index, release_store, keep_warm=keep_warm)}
    deployments = [find_deployment(ledger.index, model) for model in {release.model for release in releases}]
    shares = {deployment.challenger: deployment.share for deployment in deployments if deployment.challenger}
    return [
        _summarize_release(release, release_store, ledger.index)._replace(
            warm=release.id in warm,
            challenger_share=shares.get(release.id, ""),
        )
        for release in releases
    ]


def list_model_history(ledger: LedgerReader, model: str, instant: datetime | None = None) -> list[ReleasePeriod]:
    """List the periods in which releases of a model were live; with an instant, the period that contains it.

    Raises NotFound for a model that is not in the project and never had a release.
    """
    periods = list_release_periods(ledger.index, model, instant)
    if not periods and model not in (model_names := list_models(ledger.project.source_paths.get("models"))):
        raise NotFound(f"no model {model!r}", fix=suggest_name(model, model_names))
    return list(periods)


def list_enrolled_users(index: LedgerIndex) -> list[str]:
    """List the names of the enrolled users, sorted; in a governed project, not those of its development."""
    period = find_mode_period(index)
    enrollments = index.list_entries(action="enroll", phase="done")
    subjects = {indexed.entry.subject for indexed in enrollments if period.includes(indexed.index)}
    return [subject.removeprefix("user:") for subject in sorted(subjects)]


def find_latest_keys(
    platform: Platform | ReadPorts, model_store: ModelStore, model: str, *, count: int
) -> list[dict[str, str]]:
    """Return the keys of the newest rows that the live release can predict, from the tables of its views."""
    release_store, edition = ReleaseStore(platform.project.models_dir), latest_built_edition(platform)
    live_release = release_store.get_live(model)
    if live_release is None:
        raise NotFound(f"{model} has no live release", fix="see `wellspring release list`")
    inference_spec = read_artifact(
        live_release.artifact, objects=model_store.objects, paths=model_store.paths, keys=model_store.keys
    ).spec
    key_columns = dict.fromkeys(column for columns in inference_spec.keys.values() for column in columns)
    for view in load_views_by_digest(platform.project.lake_dir / "views", live_release.views).views:
        column_names = platform.lake.open_table(edition, view.table).schema.names
        if set(key_columns) <= set(column_names):
            rows = platform.lake.read_table(edition, view.table, [*key_columns, "known_since"])
            rows = rows.sort_by([("known_since", "descending")]).slice(0, count)
            return [{name: str(row[name]) for name in key_columns} for row in rows.to_pylist()]
    raise NotFound(f"no table of its views has the columns {', '.join(key_columns)}", fix="pass COLUMN=TOKEN")


def summarize_label_values(platform: Platform | ReadPorts, table: str, column: str) -> dict[str, int | bool]:
    """Count the different values of a column in the newest landed edition; no value leaves the worker.

    Raises NotFound for a table or a column that the edition does not have.
    """
    import pyarrow.compute as pc

    edition = platform.lake.get_edition()
    if edition is None or table not in {entry.table for entry in edition.tables}:
        raise NotFound(f"the newest edition has no table {table!r}", fix="run `wellspring ingest`")
    columns = platform.lake.open_table(edition, table).schema.names
    if column not in columns:
        raise NotFound(f"the table {table} has no column {column!r}", fix=suggest_name(column, columns))
    values = pc.unique(platform.lake.read_table(edition, table, [column])[column]).drop_null()
    return {"distinct": len(values), "is_zero_or_one": 0 < len(values) <= 2 and set(values.to_pylist()) <= {0, 1}}


def _summarize_candidate(candidate: Candidate, release_store: ReleaseStore, index: LedgerIndex) -> CandidateSummary:
    return CandidateSummary(
        model=candidate.model,
        id=candidate.id,
        run=candidate.run,
        edition=candidate.edition,
        outcome=candidate.verdict.outcome,
        task=candidate.task,
        metric=candidate.scores.main_metric,
        value=_main_value(candidate),
        created_at=format_instant(candidate.known_since),
        evaluated_against_live=_is_evaluated_against_live(candidate.model, candidate.id, release_store, index),
    )


def _main_value(candidate: Candidate) -> float | None:
    estimate = candidate.scores.metrics.get(candidate.scores.main_metric)
    return None if estimate is None else round(estimate.value, 4)


def _summarize_release(release: Release, release_store: ReleaseStore, index: LedgerIndex) -> ReleaseSummary:
    approvals = index.list_entries(subject=release.subject, action="approve", phase="done")
    return ReleaseSummary(
        model=release.model,
        id=release.id,
        candidate=release.candidate,
        proposed_by=_join_users(index, release.subject, "propose"),
        approved_by=_join_users(index, release.subject, "approve"),
        live=release_store.live_id(release.model) == release.id,
        evaluated_against_live=_is_evaluated_against_live(release.model, release.candidate, release_store, index),
        mode="" if not approvals else find_mode_period(index, before_index=approvals[-1].index).mode,
    )


def _is_evaluated_against_live(model: str, candidate: str, release_store: ReleaseStore, index: LedgerIndex) -> bool:
    live_release = release_store.get_live(model)
    gate_entries = index.list_entries(subject=f"candidate:{candidate}", action="gate", phase="done")
    live_candidate = "" if live_release is None else live_release.candidate
    return bool(gate_entries) and gate_entries[-1].entry.facts.get("live") == live_candidate


def _join_users(index: LedgerIndex, subject: str, action: str) -> str:
    entries, period = index.list_entries(subject=subject, action=action, phase="done"), find_mode_period(index)
    users = {str(indexed.entry.facts.get("user", "")) for indexed in entries if period.includes(indexed.index)}
    return ", ".join(sorted(users))

"""Maps each job to the workflow or the query that executes it, and its result to JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime

from pydantic import JsonValue

from wellspring import workflows
from wellspring.bootstrap import Platform, open_ledger, open_model_store, open_models, open_online_writer, open_platform
from wellspring.errors import ProjectError, Unavailable
from wellspring.records.ingestion import RowAccount
from wellspring.runtime.git import GitRevision
from wellspring.trust import user_notes
from wellspring.worker.job_request import JobRequest
from wellspring.workflows import queries

MAX_LISTED_ACCOUNTS = 20
"""Drops that `status` lists without --all: the newest ones, and so many with waiting rows."""


def _handle_ingest(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return workflows.ingest_source(platform, request.subject, progress=request.progress).model_dump(mode="json")


def _handle_replay_drop(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        drop = request.subject.removeprefix("drop:")
        return workflows.replay_drop(platform, drop, progress=request.progress).model_dump(mode="json")


def _handle_quarantined(request: JobRequest) -> JsonValue:
    """List quarantined rows of one drop, masked, with the number of all of them."""
    drop = request.subject.removeprefix("drop:")
    with _open_platform(request) as platform:
        total = sum(count.rows for count in platform.vault.count_quarantined(drop))
        rows = platform.vault.list_quarantined(drop)
        return {"drop": drop, "total": total, "rows": [row.model_dump(mode="json") for row in rows]}


def _handle_quarantine_counts(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return [count.model_dump(mode="json") for count in platform.vault.count_quarantined()]


def _handle_findings(request: JobRequest) -> JsonValue:
    """List the findings; with the servers running, include the latest."""
    source = request.subject or None
    if request.credential is None:
        with open_ledger(request.project) as ledger:
            return [finding._asdict() for finding in workflows.list_findings(ledger.index, source)]
    with open_platform(request.project, request.credential) as platform:
        platform.sequencer.integrate()
        return [finding._asdict() for finding in workflows.list_findings(platform.ledger.index, source)]


def _handle_acknowledge(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        finding = workflows.acknowledge_finding(
            platform,
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "acknowledgement"),
            reason=str(request.params.get("reason", "")),
        )
        return {**finding._asdict()}


def _handle_prove(request: JobRequest) -> JsonValue:
    folder = request.project.state_dir / "packs" / re.sub(r"[^A-Za-z0-9_.-]", "-", request.subject)
    if request.credential is None:
        with open_ledger(request.project) as ledger:
            pack = workflows.prove_subject(ledger, request.subject, folder)
    else:
        with open_platform(request.project, request.credential) as platform:
            pack = workflows.prove_subject(platform.ledger, request.subject, folder, platform=platform)
    return {"subject": pack.subject, "folder": str(pack.folder), "entries": pack.entries}


def _handle_transform(request: JobRequest) -> JsonValue:
    with ExitStack() as stack:
        platform = stack.enter_context(_open_platform(request))
        store = stack.enter_context(open_online_writer(platform)) if request.project.features is not None else None
        return workflows.run_transform(platform, store, progress=request.progress).model_dump(mode="json")


def _handle_train(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        revision = GitRevision(**request.params.get("revision", {}))
        candidate = workflows.train_model(
            platform, open_models(platform), request.subject, revision=revision, progress=request.progress
        )
        return candidate.model_dump(mode="json")


def _handle_reproduce(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        digests = workflows.reproduce_run(
            platform, open_models(platform), request.subject, str(request.params["run"]), progress=request.progress
        )
        return {"files": {**digests}}


def _handle_draft_release(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        platform.sequencer.integrate()
        return workflows.draft_release(platform, open_models(platform), request.subject).model_dump(mode="json")


def _handle_propose(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        release = workflows.propose_release(
            platform,
            open_models(platform),
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "proposal"),
        )
        return {"release": release.model_dump(mode="json")}


def _handle_approve(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        release, user = workflows.approve_release(
            platform,
            open_models(platform),
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "release"),
        )
        return {"release": release.model_dump(mode="json"), "user": user}


def _handle_rollback(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        release, user = workflows.rollback_release(
            platform,
            open_models(platform),
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "rollback"),
        )
        return {"release": release.model_dump(mode="json"), "user": user}


def _handle_replay_predictions(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        predictions = request.params.get("predictions") or [request.subject]
        results = workflows.replay_predictions(platform, open_models(platform), predictions)
        return [result._asdict() for result in results]


def _handle_record_outcomes(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return {
            **workflows.record_outcomes(platform, open_models(platform), progress=request.progress)._asdict(),
            "models": [{**summary} for summary in workflows.summarize_outcomes(platform)],
        }


def _handle_outcomes(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return [{**summary} for summary in workflows.summarize_outcomes(platform)]


def _handle_accounts(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        limit = None if request.params.get("all") else MAX_LISTED_ACCOUNTS
        summary, edition = queries.list_row_accounts(platform, limit=limit), platform.lake.get_edition()
        return {
            "edition": None if edition is None else edition.model_dump(mode="json"),
            "accounts": {drop: _describe_account(account) for drop, account in summary.accounts.items()},
            "total": {**_describe_account(summary.total), "drops": summary.drops},
        }


def _describe_account(account: RowAccount) -> dict[str, JsonValue]:
    return {**account.model_dump(mode="json"), "balanced": account.balanced}


def _handle_releases(request: JobRequest) -> JsonValue:
    with open_ledger(request.project) as ledger:
        return {
            "candidates": [summary._asdict() for summary in queries.list_candidate_summaries(ledger)],
            "releases": [summary._asdict() for summary in queries.list_release_summaries(ledger)],
        }


def _handle_history(request: JobRequest) -> JsonValue:
    instant = request.params.get("instant")
    with open_ledger(request.project) as ledger:
        periods = queries.list_model_history(
            ledger, request.subject, None if instant is None else _parse_instant(str(instant))
        )
        return [{**period._asdict(), "proposed_by": ", ".join(period.proposed_by)} for period in periods]


def _handle_enrolled(request: JobRequest) -> JsonValue:
    """List the enrolled users; with the servers running, include the latest enrollments."""
    if request.credential is None:
        with open_ledger(request.project) as ledger:
            return [*queries.list_enrolled_users(ledger.index)]
    with open_platform(request.project, request.credential) as platform:
        platform.sequencer.integrate()
        return [*queries.list_enrolled_users(platform.ledger.index)]


def _handle_latest_keys(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        rows = queries.find_latest_keys(
            platform, open_model_store(platform), request.subject, count=int(request.params.get("count", 1))
        )
        return [{**row} for row in rows]


def _handle_label_values(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return {**queries.summarize_label_values(platform, request.subject, str(request.params["column"]))}


def _parse_instant(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.utcoffset() is None:
        raise ProjectError(f"{text[:40]!a} is not a timestamp with a time zone", fix="write it as 2026-11-25T14:00:00Z")
    return parsed.astimezone(UTC)


def _open_platform(request: JobRequest) -> AbstractContextManager[Platform]:
    if request.credential is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    return open_platform(request.project, request.credential)


HANDLERS: dict[str, Callable[[JobRequest], JsonValue]] = {
    "ingest": _handle_ingest,
    "replay": _handle_replay_drop,
    "quarantined": _handle_quarantined,
    "quarantine-counts": _handle_quarantine_counts,
    "findings": _handle_findings,
    "acknowledge": _handle_acknowledge,
    "accounts": _handle_accounts,
    "record-outcomes": _handle_record_outcomes,
    "outcomes": _handle_outcomes,
    "prove": _handle_prove,
    "transform": _handle_transform,
    "train": _handle_train,
    "reproduce": _handle_reproduce,
    "draft-release": _handle_draft_release,
    "propose": _handle_propose,
    "approve": _handle_approve,
    "rollback": _handle_rollback,
    "releases": _handle_releases,
    "enrolled": _handle_enrolled,
    "history": _handle_history,
    "latest-keys": _handle_latest_keys,
    "label-values": _handle_label_values,
    "replay-predictions": _handle_replay_predictions,
}

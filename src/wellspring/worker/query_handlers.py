"""Maps each query to the function that answers it, and its result to JSON. A query is not a job: it waits for none."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from wellspring import workflows
from wellspring.bootstrap import ReadPorts, open_ledger_reader, open_model_store, open_models
from wellspring.bootstrap.job_ports import open_read_ports, open_row_checker
from wellspring.data.features.views import list_saved_views
from wellspring.errors import ProjectError, Unavailable
from wellspring.models.releases.deployments import find_deployment
from wellspring.project import Project
from wellspring.records.ingestion import RowAccount
from wellspring.runtime.process import Credential
from wellspring.trust.changes.store import ChangeStore
from wellspring.workflows import queries

MAX_LISTED_ACCOUNTS = 20
"""Drops that `status` lists without --all: the newest ones, and so many with waiting rows."""


class QueryRequest(NamedTuple):
    """One query: its project, credential (None while the servers are down), subject and further parameters by name.

    trace: of the command, which the entries that the query causes have.
    """

    project: Project
    credential: Credential | None
    subject: str
    params: dict[str, Any]
    trace: str


def _handle_quarantined(request: QueryRequest) -> JsonValue:
    """List quarantined rows of one drop, masked, with the number of all of them."""
    drop = request.subject.removeprefix("drop:")
    with _open_ports(request) as ports:
        total = sum(count.rows for count in ports.vault.count_quarantined(drop))
        rows = ports.vault.list_quarantined(drop)
        return {"drop": drop, "total": total, "rows": [row.model_dump(mode="json") for row in rows]}


def _handle_quarantine_counts(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        return [count.model_dump(mode="json") for count in ports.vault.count_quarantined()]


def _handle_person_counts(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        return ports.vault.count_persons().model_dump(mode="json")


def _handle_findings(request: QueryRequest) -> JsonValue:
    """List the findings; with the servers running, include the latest."""
    with open_read_ports(request.project, request.credential) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        findings = workflows.list_findings(ports.ledger.index, request.subject or None)
        return [finding._asdict() for finding in findings]


def _handle_accounts(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        limit = None if request.params.get("all") else MAX_LISTED_ACCOUNTS
        summary, edition = queries.list_row_accounts(ports, limit=limit), ports.lake.get_edition()
        return {
            "edition": None if edition is None else edition.model_dump(mode="json"),
            "accounts": {drop: _describe_account(account) for drop, account in summary.accounts.items()},
            "total": {**_describe_account(summary.total), "drops": summary.drops},
            "unreleased_contracts": _describe_unreleased(ports),
        }


def _describe_unreleased(ports: ReadPorts) -> JsonValue:
    try:
        return [contract.model_dump(mode="json") for contract in workflows.list_unreleased(ports)]
    except ProjectError:
        # `ingest` and `doctor` name the errors in the files.
        return []


def _handle_drops(request: QueryRequest) -> JsonValue:
    """Describe the newest drops, or all, of one source or of all sources."""
    with _open_ports(request) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        limit = None if request.params.get("all") else MAX_LISTED_ACCOUNTS
        return [encode_drop(drop) for drop in workflows.list_drops(ports, source=request.subject, limit=limit)]


def _handle_holds(request: QueryRequest) -> JsonValue:
    with open_read_ports(request.project, request.credential) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        return [hold._asdict() for hold in workflows.list_holds(ports.ledger.index)]


def _handle_drop(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        return encode_drop(workflows.describe_drop(ports, request.subject))


def encode_drop(drop: workflows.DropSummary) -> JsonValue:
    """Convert the description of a drop to JSON."""
    return {
        **drop._asdict(),
        "account": _describe_account(drop.account),
        "codes": list[JsonValue](drop.codes),
        "decisions": [decision._asdict() for decision in drop.decisions],
    }


def _describe_account(account: RowAccount) -> dict[str, JsonValue]:
    return {**account.model_dump(mode="json"), "balanced": account.balanced}


def _handle_releases(request: QueryRequest) -> JsonValue:
    ledger = open_ledger_reader(request.project)
    return {
        "candidates": [summary._asdict() for summary in queries.list_candidate_summaries(ledger)],
        "releases": [summary._asdict() for summary in queries.list_release_summaries(ledger)],
        "changes": [
            encode_change(summary)
            for summary in workflows.list_changes(ChangeStore(request.project.changes_dir), ledger.index)
        ],
    }


def encode_change(summary: workflows.ChangeSummary) -> JsonValue:
    """Convert a proposed change to JSON."""
    return {**summary._asdict(), "release": summary.release.model_dump(mode="json")}


def _handle_outcomes(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        return [{**summary} for summary in workflows.summarize_outcomes(ports)]


def _handle_feature_diff(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        return workflows.diff_release_features(ports, request.subject).model_dump(mode="json")


def _handle_draft_release(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        return workflows.draft_release(ports, open_models(ports), request.subject).model_dump(mode="json")


def _handle_history(request: QueryRequest) -> JsonValue:
    instant = request.params.get("instant")
    periods = queries.list_model_history(
        open_ledger_reader(request.project),
        request.subject,
        None if instant is None else _parse_instant(str(instant)),
    )
    return [{**period._asdict(), "proposed_by": ", ".join(period.proposed_by)} for period in periods]


def _handle_deployment(request: QueryRequest) -> JsonValue:
    index = open_ledger_reader(request.project).index
    return find_deployment(index, request.subject).model_dump(mode="json")


def _handle_enrolled(request: QueryRequest) -> JsonValue:
    """List the enrolled users; with the servers running, include the latest enrollments."""
    with open_read_ports(request.project, request.credential) as ports:
        if ports.sequencer is not None:
            ports.sequencer.integrate()
        return [*queries.list_enrolled_users(ports.ledger.index)]


def _handle_latest_keys(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        rows = queries.find_latest_keys(
            ports, open_model_store(ports), request.subject, count=int(request.params.get("count", 1))
        )
        return [{**row} for row in rows]


def _handle_label_values(request: QueryRequest) -> JsonValue:
    with _open_ports(request) as ports:
        return {**queries.summarize_label_values(ports, request.subject, str(request.params["column"]))}


def _handle_online_rows(request: QueryRequest) -> JsonValue:
    """Check all online rows; null if the online store cannot be checked."""
    if request.credential is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    with open_row_checker(request.project, request.credential) as checker:
        if checker is None:
            return None
        return {**checker.check_rows(list_saved_views(request.project.lake_dir / "views"))._asdict()}


def _parse_instant(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.utcoffset() is None:
        raise ProjectError(f"{text[:40]!a} is not a timestamp with a time zone", fix="write it as 2026-11-25T14:00:00Z")
    return parsed.astimezone(UTC)


def _handle_sealed_pack(request: QueryRequest) -> JsonValue:
    """Write the pack of a story that is sealed in the ledger; it needs no server.

    It is not recorded: while OpenBao is down, no process gets a key to sign the line.
    """
    ledger = open_ledger_reader(request.project)
    pack = workflows.prove_subject(ledger, request.subject, pack_folder(request.project, request.subject))
    return {"subject": pack.subject, "folder": str(pack.folder), "entries": pack.entries}


def pack_folder(project: Project, subject: str) -> Path:
    """Return the folder to which the worker writes the pack of a subject."""
    return project.state_dir / "packs" / re.sub(r"[^A-Za-z0-9_.-]", "-", subject)


def _open_ports(request: QueryRequest) -> AbstractContextManager[ReadPorts]:
    if request.credential is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    return open_read_ports(request.project, request.credential, trace=request.trace)


QUERY_HANDLERS: dict[str, Callable[[QueryRequest], JsonValue]] = {
    "quarantined": _handle_quarantined,
    "quarantine-counts": _handle_quarantine_counts,
    "person-counts": _handle_person_counts,
    "findings": _handle_findings,
    "accounts": _handle_accounts,
    "drops": _handle_drops,
    "drop": _handle_drop,
    "holds": _handle_holds,
    "releases": _handle_releases,
    "draft-release": _handle_draft_release,
    "feature-diff": _handle_feature_diff,
    "outcomes": _handle_outcomes,
    "enrolled": _handle_enrolled,
    "history": _handle_history,
    "deployment": _handle_deployment,
    "latest-keys": _handle_latest_keys,
    "label-values": _handle_label_values,
    "online-rows": _handle_online_rows,
    "sealed-pack": _handle_sealed_pack,
}

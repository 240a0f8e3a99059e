"""Executes one job as the worker user, holding the writer lock of the catalog and the ledger.

Started as `python -m wellspring.worker JOB --project P`. Reads one JSON line from standard input: the credential (null
for jobs that need no server) and the parameters, which may include a user's login token and therefore must not be
command line arguments. Writes JSON lines to standard output: progress, then one result or one error.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

from pydantic import JsonValue

from wellspring import project, workflows
from wellspring.bootstrap import (
    Platform,
    open_ledger,
    open_model_registry,
    open_model_store,
    open_online_writer,
    open_platform,
    open_release_context,
)
from wellspring.data.features.materialize import engine_input, read_table_schema
from wellspring.data.features.views import load_views_by_digest
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable, WellspringError, suggest_name
from wellspring.models.releases.history import list_release_periods
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.spec.artifact import list_candidates, read_artifact, read_candidate
from wellspring.models.spec.definition import list_models
from wellspring.project import Project
from wellspring.records.record import format_instant
from wellspring.runtime.process import Credential, build_argument_parser
from wellspring.runtime.sandbox import confine_process
from wellspring.trust.ledger.index import LedgerIndex

EmitEvent = Callable[[dict[str, Any]], None]


class JobRequest(NamedTuple):
    """One job: its project, credential, subject and further parameters by name."""

    project: Project
    credential: Credential | None
    subject: str
    params: dict[str, Any]
    progress: workflows.WorkflowProgress


def main(argv: list[str] | None = None) -> int:
    """Read the request from standard input, execute the job and return its exit code."""
    arguments = _parse_arguments(argv)
    line = sys.stdin.readline()
    payload: dict[str, Any] = json.loads(line) if line.strip() else {}
    # Redirect the output of libraries to standard error: standard output is reserved for JSON lines.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    credential = payload.get("credential")
    return execute_job(
        arguments, None if credential is None else Credential(**credential), output, payload.get("params")
    )


def execute_job(
    arguments: argparse.Namespace, credential: Credential | None, output: TextIO, params: dict[str, Any] | None = None
) -> int:
    """Execute a job, write its outcome as one JSON line and return the exit code."""

    def emit(event: dict[str, Any]) -> None:
        output.write(json.dumps(event) + "\n")
        output.flush()

    def progress(stage: str, done: int, total: int) -> None:
        emit({"event": "progress", "stage": stage, "done": done, "total": total})

    try:
        loaded_project = project.load_project(arguments.project)
        confine_process(loaded_project, role="worker")
        with hold_writer_lock(loaded_project):
            value = HANDLERS[arguments.run](
                JobRequest(loaded_project, credential, arguments.subject, params or {}, progress)
            )
        emit({"event": "result", "value": value})
    except WellspringError as exc:
        verdict = exc.verdict.model_dump(mode="json") if isinstance(exc, Refused) and exc.verdict else None
        emit({"event": "error", "slug": exc.slug, "what": exc.what, "fix": exc.fix, "verdict": verdict})
        return exc.exit_code
    return 0


@contextmanager
def hold_writer_lock(project: Project) -> Iterator[None]:
    """Hold the writer lock of the catalog and the ledger. Raises Unavailable when another run holds it."""
    try:
        lock = (project.state_dir / "writer.lock").open("a+")
    except FileNotFoundError:
        raise Unavailable("the servers of this project were never started", fix="run `wellspring up`") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another run is in progress in this project", fix="try again when it has ended") from None
        yield


def _handle_ingest(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return workflows.ingest_source(platform, request.subject, progress=request.progress).model_dump(mode="json")


def _handle_replay_drop(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        drop = request.subject.removeprefix("drop:")
        return workflows.replay_drop(platform, drop, progress=request.progress).model_dump(mode="json")


def _handle_quarantined(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        rows = platform.vault.list_quarantined(request.subject.removeprefix("drop:") or None)
        return [row.model_dump(mode="json") for row in rows]


def _handle_accounts(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        platform.sequencer.integrate()
        drops = dict.fromkeys(
            land_entry.entry.subject for land_entry in platform.ledger.index.list_entries(action="land")
        )
        accounts = {drop: workflows.build_row_account(platform, drop.removeprefix("drop:")) for drop in drops}
        edition = platform.lake.get_edition()
        return {
            "edition": None if edition is None else edition.model_dump(mode="json"),
            "accounts": {
                drop: {**account.model_dump(mode="json"), "balanced": account.balanced}
                for drop, account in accounts.items()
            },
        }


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
        candidate = workflows.train_model(
            platform,
            request.subject,
            registry=open_model_registry(request.project),
            model_store=open_model_store(platform.ledger, platform.model_signer.public_key()),
            release_store=ReleaseStore(request.project.models_dir),
            progress=request.progress,
        )
        return candidate.model_dump(mode="json")


def _handle_reproduce(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        digests = workflows.reproduce_run(
            platform,
            request.subject,
            str(request.params["run"]),
            registry=open_model_registry(request.project),
            model_store=open_model_store(platform.ledger, platform.model_signer.public_key()),
            progress=request.progress,
        )
        return {"files": {**digests}}


def _handle_propose(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        model_store = open_model_store(platform.ledger, platform.model_signer.public_key())
        release = workflows.propose_release(
            platform,
            open_release_context(platform),
            request.subject,
            model_store=model_store,
            token=str(request.params["token"]),
        )
        return {"release": release.model_dump(mode="json")}


def _handle_approve(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        release, user = workflows.approve_release(
            platform, open_release_context(platform), request.subject, token=str(request.params["token"])
        )
        return {"release": release.model_dump(mode="json"), "user": user}


def _handle_rollback(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        release, user = workflows.rollback_release(
            platform, open_release_context(platform), request.subject, token=str(request.params["token"])
        )
        return {"release": release.model_dump(mode="json"), "user": user}


def _handle_releases(request: JobRequest) -> JsonValue:
    with open_ledger(request.project) as ledger:
        release_store, index = ReleaseStore(request.project.models_dir), ledger.index
        candidates = [
            read_candidate(candidate_id, paths=release_store.paths)
            for candidate_id in list_candidates(release_store.paths)
        ]
        releases = sorted(
            (release_store.get(release_id) for release_id in release_store.list_ids()),
            key=lambda release: (release.known_since, release.id),
        )
        live_candidates = {
            model: live_release.candidate if (live_release := release_store.get_live(model)) else ""
            for model in release_store.live_models()
        }

        def evaluated_against_live(model: str, candidate: str) -> bool:
            gate_entries = index.list_entries(subject=f"candidate:{candidate}", action="gate", phase="done")
            return bool(gate_entries) and gate_entries[-1].entry.facts.get("live") == live_candidates.get(model, "")

        return {
            "candidates": [
                {
                    "model": candidate.model, "id": candidate.id, "run": candidate.run, "edition": candidate.edition,
                    "outcome": candidate.verdict.outcome, "auc": round(candidate.scores.metrics["auc"].value, 4),
                    "created_at": format_instant(candidate.known_since),
                    "evaluated_against_live": evaluated_against_live(candidate.model, candidate.id),
                }
                for candidate in sorted(candidates, key=lambda candidate: (candidate.known_since, candidate.id))
            ],
            "releases": [
                {
                    "model": release.model, "id": release.id, "candidate": release.candidate,
                    "proposed_by": ", ".join(_entry_users(index, release.subject, "propose")),
                    "approved_by": ", ".join(_entry_users(index, release.subject, "approve")),
                    "live": release_store.live_id(release.model) == release.id,
                    "evaluated_against_live": evaluated_against_live(release.model, release.candidate),
                }
                for release in releases
            ],
        }  # fmt: skip


def _entry_users(index: LedgerIndex, subject: str, action: str) -> list[str]:
    entries = index.list_entries(subject=subject, action=action, phase="done")
    return sorted({str(indexed_entry.entry.facts.get("user", "")) for indexed_entry in entries})


def _handle_enrolled(request: JobRequest) -> JsonValue:
    """List the enrolled users; with the servers running, include the latest enrollments."""
    with ExitStack() as stack:
        if request.credential is None:
            index = stack.enter_context(open_ledger(request.project)).index
        else:
            platform = stack.enter_context(open_platform(request.project, request.credential))
            platform.sequencer.integrate()
            index = platform.ledger.index
        subjects = {enroll_entry.entry.subject for enroll_entry in index.list_entries(action="enroll", phase="done")}
        return [subject.removeprefix("user:") for subject in sorted(subjects)]


def _handle_history(request: JobRequest) -> JsonValue:
    instant = request.params.get("instant")
    with open_ledger(request.project) as ledger:
        periods = list_release_periods(
            ledger.index, request.subject, None if instant is None else _parse_instant(str(instant))
        )
    if not periods and request.subject not in (model_names := list_models(request.project.source_paths.get("models"))):
        raise NotFound(f"no model {request.subject!r}", fix=suggest_name(request.subject, model_names))
    return [{**period._asdict(), "proposed_by": ", ".join(period.proposed_by)} for period in periods]


def _parse_instant(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.utcoffset() is None:
        raise ProjectError(f"{text[:40]!a} is not a timestamp with a time zone", fix="write it as 2026-11-25T14:00:00Z")
    return parsed.astimezone(UTC)


def _handle_latest_keys(request: JobRequest) -> JsonValue:
    """Return the keys of the newest rows that the live model can predict, from the tables of its views."""
    with _open_platform(request) as platform:
        release_store, edition = ReleaseStore(request.project.models_dir), workflows.latest_built_edition(platform)
        live_release = release_store.get_live(request.subject)
        if live_release is None:
            raise NotFound(f"{request.subject} has no live release", fix="see `wellspring release list`")
        model_store = open_model_store(platform.ledger, platform.model_signer.public_key())
        inference_spec = read_artifact(
            live_release.artifact, objects=model_store.objects, paths=model_store.paths, key=model_store.key
        ).spec
        key_columns = dict.fromkeys(column for columns in inference_spec.keys.values() for column in columns)
        for view in load_views_by_digest(request.project.lake_dir / "views", live_release.views).views:
            column_names = read_table_schema(engine_input(platform.lake, edition, view.table)).names
            if set(key_columns) <= set(column_names):
                rows = platform.lake.read_table(edition, view.table, [*key_columns, "known_since"])
                rows = rows.sort_by([("known_since", "descending")]).slice(0, int(request.params.get("count", 1)))
                return [{name: str(row[name]) for name in key_columns} for row in rows.to_pylist()]
        raise NotFound(f"no table of its views has the columns {', '.join(key_columns)}", fix="pass COLUMN=TOKEN")


def _handle_replay_predictions(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        model_store = open_model_store(platform.ledger, platform.model_signer.public_key())
        prediction_ids = request.params.get("predictions") or [request.subject]
        return [
            replayed._asdict()
            for replayed in workflows.replay_predictions(
                platform, open_release_context(platform), prediction_ids, model_store=model_store
            )
        ]


def _open_platform(request: JobRequest) -> AbstractContextManager[Platform]:
    if request.credential is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    return open_platform(request.project, request.credential)


HANDLERS: dict[str, Callable[[JobRequest], JsonValue]] = {
    "ingest": _handle_ingest,
    "replay": _handle_replay_drop,
    "quarantined": _handle_quarantined,
    "accounts": _handle_accounts,
    "prove": _handle_prove,
    "transform": _handle_transform,
    "train": _handle_train,
    "reproduce": _handle_reproduce,
    "propose": _handle_propose,
    "approve": _handle_approve,
    "rollback": _handle_rollback,
    "releases": _handle_releases,
    "enrolled": _handle_enrolled,
    "history": _handle_history,
    "latest-keys": _handle_latest_keys,
    "replay-predictions": _handle_replay_predictions,
}


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = build_argument_parser("wellspring.worker")
    parser.add_argument("run", choices=sorted(HANDLERS))
    parser.add_argument("subject", nargs="?", default="")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

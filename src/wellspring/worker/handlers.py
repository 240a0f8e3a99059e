"""Maps each kind of job to the workflow that executes it, and its result to JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from pydantic import JsonValue

from wellspring import workflows
from wellspring.bootstrap import Platform, open_models, open_online_writer, open_platform
from wellspring.models.releases.store import ReleaseStore
from wellspring.runtime.git import GitRevision
from wellspring.trust import user_notes
from wellspring.worker.job_request import JobRequest
from wellspring.worker.query_handlers import encode_change, encode_drop, pack_folder
from wellspring.workflows.holds import HoldAction


def _handle_ingest(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        return workflows.ingest_source(platform, request.subject, progress=request.progress).model_dump(mode="json")


def _handle_replay_drop(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        drop = request.subject.removeprefix("drop:")
        return workflows.replay_drop(platform, drop, progress=request.progress).model_dump(mode="json")


def _handle_retain(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        store = ReleaseStore(request.project.models_dir)
        result = workflows.retain_editions(platform, store, progress=request.progress)
        return {
            "retired": list[JsonValue](result.retired),
            "named": dict[str, JsonValue](result.named),
            "removed_files": result.removed_files,
            "compacted": list[JsonValue](result.compacted),
        }


def _handle_backfill(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        result = workflows.backfill_person_rows(platform, progress=request.progress)
        return {"drops": dict[str, JsonValue](result.drops), "rows": dict[str, JsonValue](result.rows)}


def _handle_hold(request: JobRequest) -> JsonValue:
    return _change_hold(request, "hold")


def _handle_lift_hold(request: JobRequest) -> JsonValue:
    return _change_hold(request, "lift_hold")


def _change_hold(request: JobRequest, action: HoldAction) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), action)
        holds = workflows.change_hold(platform, action, request.subject, note=note, reason=_read_reason(request))
        return [hold._asdict() for hold in holds]


def _handle_withdraw(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), "withdrawal")
        drop = workflows.withdraw_drop(platform, request.subject, note=note, reason=_read_reason(request))
        return encode_drop(drop)


def _handle_rejudge(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), "rejudgement")
        return workflows.rejudge_drop(
            platform, request.subject, note=note, reason=_read_reason(request), progress=request.progress
        ).model_dump(mode="json")


def _handle_discard(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), "discard")
        return encode_drop(
            workflows.discard_quarantined(platform, request.subject, note=note, reason=_read_reason(request))
        )


def _read_reason(request: JobRequest) -> str:
    return str(request.params.get("reason", ""))


def _handle_acknowledge(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        finding = workflows.acknowledge_finding(
            platform,
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "acknowledgement"),
            reason=_read_reason(request),
        )
        return {**finding._asdict()}


def _handle_prove(request: JobRequest) -> JsonValue:
    folder = pack_folder(request.project, request.subject)
    with _open_platform(request) as platform:
        pack = workflows.prove_subject(platform.ledger, request.subject, folder, platform=platform)
        return {"subject": pack.subject, "folder": str(pack.folder), "entries": pack.entries}


def _handle_transform(request: JobRequest) -> JsonValue:
    with ExitStack() as stack:
        platform = stack.enter_context(_open_platform(request))
        store = stack.enter_context(open_online_writer(platform)) if request.project.features is not None else None
        return workflows.run_transform(platform, store, progress=request.progress).model_dump(mode="json")


def _handle_refresh(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform, open_online_writer(platform) as store:
        refreshed = workflows.refresh_features(platform, store, request.subject, progress=request.progress)
        return refreshed.model_dump(mode="json")


def _handle_train(request: JobRequest, *, is_draft: bool = False) -> JsonValue:
    with _open_platform(request) as platform:
        candidate = workflows.train_model(
            platform,
            open_models(platform),
            request.subject,
            revision=GitRevision(**request.params.get("revision", {})),
            progress=request.progress,
            is_draft=is_draft,
        )
        return candidate.model_dump(mode="json")


def _handle_evaluate(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        revision = GitRevision(**request.params.get("revision", {}))
        candidate = workflows.evaluate_release(
            platform, open_models(platform), request.subject, revision=revision, progress=request.progress
        )
        return candidate.model_dump(mode="json")


def _handle_train_draft(request: JobRequest) -> JsonValue:
    return _handle_train(request, is_draft=True)


def _handle_reproduce(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        digests = workflows.reproduce_run(
            platform, open_models(platform), request.subject, str(request.params["run"]), progress=request.progress
        )
        return {"files": {**digests}}


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
            makes_live=not request.params.get("challenger"),
        )
        return {"release": release.model_dump(mode="json"), "user": user}


def _handle_draft_change(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        kind, _, name = request.subject.partition(":")
        return workflows.draft_change(platform, kind, name, progress=request.progress).model_dump(mode="json")


def _handle_propose_change(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), "proposal")
        return encode_change(workflows.propose_change(platform, request.subject, note=note))


def _handle_approve_change(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        note = user_notes.parse_note(request.params.get("note"), "release")
        return encode_change(workflows.approve_change(platform, request.subject, note=note))


def _handle_deploy(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        deployment, user = workflows.deploy_release(
            platform,
            open_models(platform),
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "deployment"),
        )
        return {"deployment": deployment.model_dump(mode="json"), "user": user}


def _handle_undeploy(request: JobRequest) -> JsonValue:
    with _open_platform(request) as platform:
        deployment, user = workflows.undeploy_release(
            platform,
            open_models(platform),
            request.subject,
            note=user_notes.parse_note(request.params.get("note"), "undeployment"),
        )
        return {"deployment": deployment.model_dump(mode="json"), "user": user}


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


def _open_platform(request: JobRequest) -> AbstractContextManager[Platform]:
    return open_platform(
        request.project,
        request.credential,
        project_code=request.project_code,
        fence=request.fence,
        service=request.journal,
        run=request.run,
    )


HANDLERS: dict[str, Callable[[JobRequest], JsonValue]] = {
    "ingest": _handle_ingest,
    "replay": _handle_replay_drop,
    "acknowledge": _handle_acknowledge,
    "retain": _handle_retain,
    "backfill": _handle_backfill,
    "hold": _handle_hold,
    "lift_hold": _handle_lift_hold,
    "withdraw": _handle_withdraw,
    "rejudge": _handle_rejudge,
    "discard": _handle_discard,
    "record-outcomes": _handle_record_outcomes,
    "prove": _handle_prove,
    "transform": _handle_transform,
    "refresh": _handle_refresh,
    "train": _handle_train,
    "evaluate": _handle_evaluate,
    "train-draft": _handle_train_draft,
    "reproduce": _handle_reproduce,
    "propose": _handle_propose,
    "approve": _handle_approve,
    "deploy": _handle_deploy,
    "undeploy": _handle_undeploy,
    "rollback": _handle_rollback,
    "draft-change": _handle_draft_change,
    "propose-change": _handle_propose_change,
    "approve-change": _handle_approve_change,
    "replay-predictions": _handle_replay_predictions,
}

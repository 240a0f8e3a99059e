"""Promote and roll back releases.

One pointer per model names the live release. It moves after the intent is in the ledger and before the completion is;
`recover_releases` completes what a crash interrupted. MLflow only shows the result: its alias is a projection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.models.releases import history
from wellspring.models.releases.candidates import read_candidate
from wellspring.models.releases.comparison import LIST_FIX, RETRAIN_FIX, require_current_comparison
from wellspring.models.releases.deployments import complete_deployment, restore_challenger_file
from wellspring.models.releases.release_context import ReleaseContext, build_release_ref
from wellspring.models.releases.store import ReleaseStore, check_release_digest
from wellspring.models.spec.artifact import ModelArtifact
from wellspring.models.tracking.mlflow import LiveVersion
from wellspring.records.lake import Edition
from wellspring.records.models import Candidate, Release
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.approvals import build_approval_act, compute_release_digest, find_approval
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet
from wellspring.trust.user_acts import authorize_act, build_rollback_act
from wellspring_verify.deployments import CHALLENGER_ACTIONS


class PromotionExecutor(NamedTuple):
    """The person who executes an earlier approval, and the policies that must permit this person to approve."""

    person: Principal
    policies: PolicySet


def build_release(candidate: Candidate, artifact: ModelArtifact, policy_digest: Digest) -> Release:
    """Build a release that can be proposed, with the known_since of its candidate.

    policy_digest: of the project's policies. Raises Refused, CorruptedError for an artifact without a valid decoder.
    """
    if artifact.digest != candidate.artifact or artifact.spec.model != candidate.model:
        raise Refused(
            f"{candidate.subject} was evaluated with another artifact", fix="use the candidate's own artifact"
        )
    artifact.spec.load_decoder()
    draft = Release(
        id="",
        digest="",
        model=candidate.model,
        task=artifact.spec.task,
        candidate=candidate.id,
        artifact=artifact.digest,
        views=candidate.views,
        transform=candidate.transform,
        preprocessing=hashlib.sha256(artifact.spec.encode()).hexdigest(),
        decision_rule=artifact.spec.decision_rule,
        edition=candidate.edition,
        policy=policy_digest,
        tenant=candidate.tenant,
        known_since=candidate.known_since,
    )
    digest = compute_release_digest(draft)
    return draft.model_copy(update={"id": digest[:12], "digest": digest})


def promote_release(
    release: Release,
    person: str,
    release_context: ReleaseContext,
    *,
    step: Recorder,
    executor: PromotionExecutor | None = None,
) -> None:
    """Make a release live. person: who approved it; executor: who executes an approval of an earlier command.

    The caller's job holds the resource `release:MODEL` and has integrated the ledger. A live release stays live, and
    MLflow is synchronized again. Raises Refused for a release that is not approved by a second person, was live before,
    was not compared with the live model, or whose edition is missing; CorruptedError for wrong bytes; Unavailable when
    MLflow does not respond, before the pointer moves.
    """
    rollback_stack = _load_rollback_stack(release.model, release_context)
    if rollback_stack[-1:] != [release.id]:
        facts: dict[str, JsonValue] = {
            "model": release.model,
            "previous_release": rollback_stack[-1] if rollback_stack else "",
            "user": person,
        }
        if executor is not None:
            facts["executed_by"] = executor.person.name
        with step("check", release.subject, inputs=[build_release_ref(release)], facts=facts):
            _check_promotable(release, release_context, executor, step=step)
        with (
            # Around the intent: a stale one would stop the recovery of the next holder.
            release_context.fence.fence_writes(f"release:{release.model}"),
            step("promote", release.subject, inputs=[build_release_ref(release)], intent=True, facts=facts),
        ):
            step.crash_point("release.promote:intent")
            _set_live(release, release_context)
            step.crash_point("release.promote:live-set")
    else:
        # Written again, the pointer lets the API find an approval that it has missed, as after the end of development.
        _set_live(release, release_context)
    try_sync_registry(release.model, release_context)
    step.crash_point("release.promote:registry-synced")


def rollback_release(
    model: str,
    person: Principal,
    release_context: ReleaseContext,
    *,
    policies: PolicySet,
    step: Recorder,
    target: str | None = None,
    note_facts: Mapping[str, JsonValue] | None = None,
) -> Release:
    """Make the previous release live again, or the target; a second rollback goes further back.

    Needs a person, but no approval. target: id of a release that was live before. note_facts: of the note that the
    person signed, for the entry. MLflow is synchronized if it responds, and cannot prevent a rollback. Raises Refused,
    NotFound, CorruptedError.
    """
    if not person.name.startswith("user:"):
        raise Refused(f"{person.name} is not a person", fix="log in: only a person can roll back")
    authorize_act(policies, person, build_rollback_act(model), step=step)
    rollback_stack = _load_rollback_stack(model, release_context)
    previous_release = release_context.release_store.get(
        _find_rollback_target(model, rollback_stack, target, release_context)
    )
    if find_approval(release_context.index, previous_release) is None:
        raise Refused.because(
            previous_release.subject,
            "not_approved",
            f"{previous_release.subject} was approved in development only",
            fix=RETRAIN_FIX.format(model),
        )
    release_context.load_check(previous_release)
    facts: dict[str, JsonValue] = {
        **(note_facts or {}),
        "model": model,
        "previous_release": rollback_stack[-1],
        "user": person.name,
    }
    if target is not None:
        facts["to_release"] = target
    with (
        release_context.fence.fence_writes(f"release:{model}"),
        step(
            "rollback", previous_release.subject, inputs=[build_release_ref(previous_release)], intent=True, facts=facts
        ),
    ):
        step.crash_point("release.rollback:intent")
        _set_live(previous_release, release_context)
        step.crash_point("release.rollback:live-set")
    try_sync_registry(model, release_context)
    return previous_release


def _find_rollback_target(
    model: str, rollback_stack: list[str], target: str | None, release_context: ReleaseContext
) -> str:
    if len(rollback_stack) < 2 and target is None:
        raise Refused(
            f"no release of {model} was live before {rollback_stack[0] if rollback_stack else 'now'}",
            fix="approve another release",
        )
    if target is None:
        return rollback_stack[-2]
    if rollback_stack[-1:] == [target]:
        raise Refused(f"release:{target} is live already", fix=f"see `wellspring history {model}`")
    if not history.was_live(release_context.index, model, target):
        raise Refused(f"release:{target} was never live as {model}", fix=f"see `wellspring history {model}`")
    return target


def recover_releases(
    model: str, open_intents: Iterable[IndexedEntry], release_context: ReleaseContext, *, step: Recorder
) -> tuple[Release, ...]:
    """Reconcile pointer and ledger of a model after a crash; idempotent once the caller integrated.

    Raises CorruptedError. The caller's job holds the resource `release:MODEL`: an open intent about another model may
    belong to a job that runs.

    A switch with an intent and no completion is completed. A switch that failed after its pointer moved is live, so it
    is completed too: its predictions can be proved and it can be rolled back.
    """
    recovered_releases: list[Release] = []
    for open_intent in sorted(open_intents, key=lambda logged: logged.index):
        entry = open_intent.entry
        if entry.text("model") != model:
            continue
        if entry.action in CHALLENGER_ACTIONS:
            with release_context.fence.fence_writes(f"release:{model}"):
                complete_deployment(entry, release_context)
                _complete_intent(entry, entry.id, step)
            recovered_releases.append(release_context.release_store.get(history.get_switched_release(entry)))
            continue
        if entry.action not in history.SWITCH_ACTIONS:
            continue
        release = release_context.release_store.get(history.get_switched_release(entry))
        live_id = release_context.release_store.live_id(release.model)
        if build_release_ref(release) not in entry.inputs or live_id not in {
            release.id,
            entry.text("previous_release"),
        }:
            raise CorruptedError(
                f"{entry.id} expects {entry.text('previous_release') or 'no release'} to be live before "
                f"{entry.subject}, but {live_id} is live",
                fix=_POINTER_FIX,
            )
        with release_context.fence.fence_writes(f"release:{model}"):
            _set_live(release, release_context)
            _complete_intent(entry, entry.id, step)
        recovered_releases.append(release)
    if not recovered_releases:
        recovered_releases += _complete_failed_switch(model, release_context, step)
        restore_challenger_file(model, release_context)
    if recovered_releases:
        try_sync_registry(model, release_context)
    return tuple(recovered_releases)


def _set_live(release: Release, release_context: ReleaseContext) -> None:
    """Move the pointer. The fence checks again, in case the process was paused after the intent was written."""
    with release_context.fence.fence_writes(f"release:{release.model}"):
        release_context.release_store.set_live(release)
        # The challenger was compared with the release before.
        release_context.release_store.set_challenger(release.model, "")


def _complete_failed_switch(model: str, release_context: ReleaseContext, step: Recorder) -> list[Release]:
    """Complete the newest switch of a model if it failed after its pointer moved; return its release."""
    failed_entry = history.find_last_failed_switch(release_context.index, model)
    if failed_entry is None or failed_entry.intent is None:
        return []
    live_id = history.get_switched_release(failed_entry)
    if live_id != release_context.release_store.live_id(model):
        return []
    release = release_context.release_store.get(live_id)
    rollback_stack = history.build_rollback_stack(release_context.index, model)
    previous_id = rollback_stack[-1] if rollback_stack else ""
    if build_release_ref(release) not in failed_entry.inputs or previous_id != failed_entry.text("previous_release"):
        return []
    with release_context.fence.fence_writes(f"release:{model}"):
        _complete_intent(failed_entry, failed_entry.intent, step)
    return [release]


def _complete_intent(entry: Entry, intent: str, step: Recorder) -> None:
    facts = {name: value for name, value in entry.facts.items() if name not in {"error", "verdict"}}
    step.complete_after_crash(entry.action, entry.subject, intent, facts={**facts, "recovered": True})


def sync_registry(model: str, release_context: ReleaseContext) -> tuple[str, ...]:
    """Synchronize MLflow with the live release and the challenger, and return what changed. Raises Unavailable."""
    release = release_context.release_store.get_live(model)
    if release is None:
        return release_context.registry.reconcile(model, None, None)
    approval = find_approval(release_context.index, release)
    approved_by = approval.approver if approval is not None else ""
    # Not from the ledger: this change is not integrated yet.
    challenger_id = release_context.release_store.challenger_id(model)
    challenger_run = (
        _training_run(release_context.release_store.get(challenger_id), release_context) if challenger_id else None
    )
    return release_context.registry.reconcile(
        model, LiveVersion(_training_run(release, release_context), release.id, approved_by), challenger_run
    )


def refuse_retirement(edition: Edition, release_store: ReleaseStore) -> None:
    """Raise Refused for an edition of a stored release, which replay and rollback need."""
    if edition.id in release_store.pinned_editions():
        raise Refused(
            f"{edition.subject} is used by a release and cannot be retired",
            fix="retire another edition: releases must stay replayable",
        )


def _check_promotable(
    release: Release, release_context: ReleaseContext, executor: PromotionExecutor | None, *, step: Recorder
) -> None:
    """Raise unless a release may go live and the executor may execute its approval."""
    check_release_digest(release, Refused)
    release_context.release_store.get(release.id)
    approval = find_approval(release_context.index, release)
    if approval is None:
        raise Refused.because(
            release.subject, "not_approved", f"{release.subject} is not approved by a second person", fix=LIST_FIX
        )
    if history.was_live(release_context.index, release.model, release.id):
        message = (
            f"{release.subject} was live before and was rolled back or replaced; its approval cannot be used again"
        )
        raise Refused.because(release.subject, "previously_live", message, fix=RETRAIN_FIX.format(release.model))
    if executor is not None:
        approval_act = build_approval_act(release, executor.person.name, release_context.index)
        authorize_act(executor.policies, executor.person, approval_act, step=step)
    require_current_comparison(release, release_context)
    try:
        release_context.lake.get_edition(release.edition)
    except NotFound:
        raise Refused.because(
            release.subject,
            "edition_missing",
            f"the edition of {release.subject} is missing from the lake",
            fix=LIST_FIX,
        ) from None
    release_context.load_check(release)
    # MLflow is contacted before the pointer moves, so that an unreachable MLflow stops the promotion.
    release_context.registry.get_run(_training_run(release, release_context))


def _load_rollback_stack(model: str, release_context: ReleaseContext) -> list[str]:
    """List the releases that a rollback could restore. Raises CorruptedError unless the pointer matches the ledger."""
    rollback_stack, live_id = (
        history.build_rollback_stack(release_context.index, model),
        release_context.release_store.live_id(model),
    )
    if (rollback_stack[-1] if rollback_stack else "") != live_id:
        raise CorruptedError(
            f"the live pointer of {model} names {live_id or 'no release'}, but the ledger names "
            f"{rollback_stack[-1] if rollback_stack else 'no release'}",
            fix=_POINTER_FIX,
        )
    return rollback_stack


def _training_run(release: Release, release_context: ReleaseContext) -> str:
    return read_candidate(release.candidate, paths=release_context.release_store.paths).run


def try_sync_registry(model: str, release_context: ReleaseContext) -> None:
    """Synchronize MLflow after a switch; a failure must not undo the switch."""
    try:
        sync_registry(model, release_context)
    except (CorruptedError, NotFound, Unavailable):
        # The release is live all the same; the next switch, or `approve` of the live release, synchronizes MLflow.
        return


_POINTER_FIX = "keep all files; the pointer was changed without a ledger entry"

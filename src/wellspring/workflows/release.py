"""Releases: proposal by one user, approval by another, rollback, and the replay of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.data.features import views
from wellspring.errors import Refused
from wellspring.models.releases import candidates, comparison, history, promotion
from wellspring.models.releases.release_context import build_release_ref
from wellspring.models.spec import artifact
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.serving.replay import PredictionReplayer, ReproductionResult
from wellspring.serving.scorer import Scorer
from wellspring.trust import approvals, user_notes
from wellspring.workflows.prove import seal_stories
from wellspring_verify import approvals as notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellspring.bootstrap import ModelPorts, Platform, ReadPorts
    from wellspring.models.releases.release_context import ReleaseContext
    from wellspring.records.user_notes import UserNote


def draft_release(platform: Platform | ReadPorts, models: ModelPorts, candidate_id: str) -> Release:
    """Build the release of a candidate, which is not stored: a proposer signs its digest.

    Raises Refused for a candidate that did not pass its gate, or was not compared with the live model; NotFound,
    CorruptedError.
    """
    candidate = candidates.read_candidate(candidate_id, paths=models.store.paths)
    if not candidate.verdict.passed:
        raise Refused(
            f"{candidate.subject} did not pass its gate", fix="train a better candidate", verdict=candidate.verdict
        )
    model_artifact = artifact.read_artifact(
        candidate.artifact, objects=models.store.objects, paths=models.store.paths, keys=models.store.keys
    )
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    drafted_release = promotion.build_release(candidate, model_artifact, policies.digest)
    comparison.require_current_comparison(drafted_release, models.releases)
    return drafted_release


def propose_release(platform: Platform, models: ModelPorts, candidate_id: str, *, note: UserNote) -> Release:
    """Propose a candidate for release as the author of a note. Raises Refused, NotFound, CorruptedError."""
    candidate = candidates.read_candidate(candidate_id, paths=models.store.paths)
    recover_releases(platform, models.releases, candidate.model)
    author = user_notes.authenticate_note(note, platform.project, platform.ledger.index)
    proposed_release = draft_release(platform, models, candidate_id)
    author.require_lines(*_note_lines(proposed_release))
    proposed_release = models.releases.release_store.save(proposed_release)
    candidate_ref = Ref(name=candidate.subject, digest=candidates.candidate_digest(candidate))
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    try:
        approvals.record_proposal(
            proposed_release,
            candidate_ref,
            author,
            ledger=platform.ledger.index,
            policies=policies,
            step=platform.step,
        )
    finally:
        platform.sequencer.integrate()
    return proposed_release


def approve_release(
    platform: Platform, models: ModelPorts, release_id: str, *, note: UserNote, makes_live: bool = True
) -> tuple[Release, str]:
    """Approve a release as a second user, the author of a note; make it live and seal its story.

    makes_live: False only approves it, so that it can be deployed as a challenger.
    Return the release and its approver. An existing approval is executed only if the release was never live, that is,
    after a crash.
    """
    executor: promotion.PromotionExecutor | None = None
    proposed_release = models.releases.release_store.get(release_id)
    recover_releases(platform, models.releases, proposed_release.model)
    author = user_notes.authenticate_note(note, platform.project, platform.ledger.index)
    author.require_lines(*_note_lines(proposed_release))
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    approval = approvals.find_approval(platform.ledger.index, proposed_release)
    if approval is not None:
        # It was approved earlier: the policies must allow the author of this note to execute the approval.
        executor = promotion.PromotionExecutor(author.principal, policies)
    else:
        try:
            with platform.step("check", proposed_release.subject, inputs=[build_release_ref(proposed_release)]):
                # Refuse the approval of a release that could not become live.
                comparison.require_current_comparison(proposed_release, models.releases)
            approval = approvals.record_approval(
                proposed_release, author, platform.ledger.index, policies, step=platform.step
            )
            platform.step.crash_point("workflows.approve:approved")
        finally:
            platform.sequencer.integrate()
    if not makes_live:
        return proposed_release, approval.approver
    try:
        promotion.promote_release(
            proposed_release, approval.approver, models.releases, step=platform.step, executor=executor
        )
    finally:
        platform.sequencer.integrate()
    seal_stories(platform, [f"model:{proposed_release.model}@{proposed_release.id}"])
    return proposed_release, approval.approver


def rollback_release(platform: Platform, models: ModelPorts, model: str, *, note: UserNote) -> tuple[Release, str]:
    """Restore the previous release of a model, or the one that the note names, as its author. Return it and the user.

    A note that was executed before changes nothing: the release that it restored is returned. Raises Refused if
    another release is live than the one that the note replaces.
    """
    recover_releases(platform, models.releases, model)
    author = user_notes.authenticate_note(note, platform.project, platform.ledger.index)
    executed = user_notes.find_execution(note, platform.ledger.index, "rollback")
    if executed is not None:
        restored_id = history.get_switched_release(executed)
        return models.releases.release_store.get(restored_id), author.principal.name
    live_id, signed_at = models.releases.release_store.live_id(model), note.lines[-1]
    _, _, target = note.lines[1].partition(":")
    author.require_lines(model, notes.rollback_line(live_id or "none", target), signed_at)
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    try:
        restored_release = promotion.rollback_release(
            model,
            author.principal,
            models.releases,
            policies=policies,
            step=platform.step,
            target=target or None,
            note_facts={**author.facts, "signed_at": signed_at},
        )
    finally:
        platform.sequencer.integrate()
    return restored_release, author.principal.name


def replay_predictions(platform: Platform, models: ModelPorts, predictions: Sequence[str]) -> list[ReproductionResult]:
    """Recompute predictions from the lake and compare them bit by bit."""
    platform.sequencer.integrate()
    replayer = PredictionReplayer(
        index=platform.ledger.index,
        lake=platform.lake,
        engine=platform.query_engine,
        release_store=models.releases.release_store,
        load_scorer=lambda model_release: Scorer.load(
            model_release, objects=models.store.objects, paths=models.store.paths, keys=models.store.keys
        ),
        views_by_digest=lambda digest: views.load_views_by_digest(platform.project.lake_dir / "views", digest),
    )
    return replayer.replay_all(predictions)


def recover_releases(platform: Platform, release_context: ReleaseContext, model: str) -> None:
    """Complete interrupted work: the ledger, then the releases of a model."""
    platform.sequencer.integrate()
    open_intents = platform.ledger.index.list_open_intents()
    if promotion.recover_releases(model, open_intents, release_context, step=platform.step):
        platform.sequencer.integrate()


def _note_lines(release: Release) -> tuple[str, str, str]:
    return release.model, release.id, release.digest

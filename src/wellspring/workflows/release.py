"""From a candidate to what answers, and back: a person proposes, another approves, either goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data.features import views
from wellspring.errors import Refused
from wellspring.models.releases import promotion
from wellspring.models.spec import artifact
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.serving.replay import PredictionReplayer, ReproductionResult
from wellspring.serving.scorer import Scorer
from wellspring.trust import approvals, policy
from wellspring.trust.identity import users
from wellspring.workflows.ingest import recover_interrupted
from wellspring.workflows.prove import seal_stories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellspring.bootstrap import Platform
    from wellspring.models.training.train import ModelStore


def propose_release(
    platform: Platform,
    release_context: promotion.ReleaseContext,
    candidate_id: str,
    *,
    model_store: ModelStore,
    token: str,
) -> Release:
    """Ask, as the person whose login this is, for a candidate to be released. Raises Refused, NotFound, Broken."""
    with users.resume_session(platform.project, token) as person:
        _recover_releases(platform, release_context)
        candidate = artifact.read_candidate(candidate_id, paths=model_store.paths)
        if not candidate.verdict.passed:
            raise Refused(
                f"{candidate.subject} did not pass its gate", fix="learn a better one", verdict=candidate.verdict
            )
        model_artifact = artifact.read_artifact(
            candidate.artifact, objects=model_store.objects, paths=model_store.paths, key=model_store.key
        )
        policies = policy.load_policies(platform.project.source_paths.get("policies"))
        proposed_release = promotion.build_release(candidate, model_artifact, policies.digest)
        promotion.require_current_comparison(proposed_release, release_context)
        proposed_release = release_context.release_store.save(proposed_release)
        candidate_ref = Ref(name=candidate.subject, digest=artifact.candidate_digest(candidate))
        try:
            approvals.propose(
                proposed_release,
                candidate_ref,
                person,
                ledger=platform.ledger.index,
                policies=policies,
                step=platform.step,
            )
        finally:
            platform.sequencer.integrate()
    return proposed_release


def approve_release(
    platform: Platform, release_context: promotion.ReleaseContext, release_id: str, *, token: str
) -> tuple[Release, str]:
    """Approve a release as a second person, let it answer, and seal its story. Returns it, and who approved it.

    Of what was approved before, only what never went live goes live: then a crash came in between.
    """
    executor: promotion.PromotionExecutor | None = None
    with users.resume_session(platform.project, token) as person:
        _recover_releases(platform, release_context)
        proposed_release = release_context.release_store.get(release_id)
        policies = policy.load_policies(platform.project.source_paths.get("policies"))
        approval = approvals.find_approval(platform.ledger.index, proposed_release)
        if approval is not None:
            # Who approved it need not be here: whoever is must be allowed to.
            executor = promotion.PromotionExecutor(person.principal, policies)
        else:
            try:
                with platform.step(
                    "check", proposed_release.subject, inputs=[promotion.build_release_ref(proposed_release)]
                ):
                    # Nobody signs for what could not go live then.
                    promotion.require_current_comparison(proposed_release, release_context)
                approval = approvals.approve(
                    proposed_release, person, platform.ledger.index, policies, step=platform.step
                )
                platform.step.crash_point("workflows.approve:approved")
            finally:
                platform.sequencer.integrate()
    try:
        promotion.promote_release(
            proposed_release, approval.approver, release_context, step=platform.step, executor=executor
        )
    finally:
        platform.sequencer.integrate()
    seal_stories(platform, [f"model:{proposed_release.model}@{proposed_release.id}"])
    return proposed_release, approval.approver


def rollback_release(
    platform: Platform, release_context: promotion.ReleaseContext, model: str, *, token: str
) -> tuple[Release, str]:
    """Serve again what a model served before, as the person whose login this is."""
    with users.resume_session(platform.project, token) as person:
        _recover_releases(platform, release_context)
        policies = policy.load_policies(platform.project.source_paths.get("policies"))
        try:
            restored_release = promotion.rollback_release(
                model, person.principal, release_context, policies=policies, step=platform.step
            )
        finally:
            platform.sequencer.integrate()
    return restored_release, person.principal.name


def replay_predictions(
    platform: Platform,
    release_context: promotion.ReleaseContext,
    predictions: Sequence[str],
    *,
    model_store: ModelStore,
) -> list[ReproductionResult]:
    """Give answers again from the lake, and compare them to the last bit."""
    recover_interrupted(platform)
    replayer = PredictionReplayer(
        index=platform.ledger.index,
        lake=platform.lake,
        release_store=release_context.release_store,
        load_scorer=lambda model_release: Scorer.load(
            model_release, objects=model_store.objects, paths=model_store.paths, key=model_store.key
        ),
        views_by_digest=lambda digest: views.load_views_by_digest(platform.project.lake_dir / "views", digest),
    )
    return replayer.replay_all(predictions)


def _recover_releases(platform: Platform, release_context: promotion.ReleaseContext) -> None:
    """Finish what a crash left half done: the log, the lake, then what answers."""
    recover_interrupted(platform)
    if promotion.recover_releases(platform.ledger.index.list_open_intents(), release_context, step=platform.step):
        platform.sequencer.integrate()

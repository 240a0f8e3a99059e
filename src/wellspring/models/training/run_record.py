"""Record a run: its gate and candidate in the ledger and the models folder, its figures in the experiment tracker."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Mapping

from wellspring.errors import Refused, Unavailable
from wellspring.lake import editions
from wellspring.models.evaluation import card, evaluate
from wellspring.models.metrics import plots
from wellspring.models.releases import candidates
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.training.fit import TrainedModel
from wellspring.models.training.ports import ExperimentTracker, TrainingInputs
from wellspring.records.lake import Edition
from wellspring.records.models import Candidate, Estimate
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.stores.objects.port import NamedBlobStore
from wellspring_verify import canonical

_MAX_PARAM_LENGTH = 5000
"""MLflow accepts at most 6,000 characters."""


def require_pass(verdict: Verdict, step: Recorder, inputs: Collection[Ref]) -> None:
    """Record and raise a refusal unless a verdict passed."""
    if verdict.passed:
        return
    with step("gate", verdict.subject, inputs=inputs, facts={"outcome": verdict.outcome}):
        raise _build_gate_refusal(verdict)


def record_gate(candidate: Candidate, champion: str, *, step: Recorder, paths: NamedBlobStore) -> None:
    """Record the gate's verdict, and raise unless it passed. champion: the candidate compared with, or ''."""
    verdict, metrics = candidate.verdict, candidate.scores.metrics
    with step(
        "gate",
        candidate.subject,
        inputs=[Ref(name=f"run:{candidate.run}"), Ref(name=f"artifact:{candidate.model}", digest=candidate.artifact)],
        outputs=[Ref(name=candidate.subject, digest=candidates.candidate_digest(candidate))],
        facts={
            "model": candidate.model,
            "live": champion,
            "outcome": verdict.outcome,
            "reasons": [reason.code for reason in verdict.reasons],
            "metrics": {
                name: [repr(metric.value), repr(metric.low), repr(metric.high)] for name, metric in metrics.items()
            },
        },
    ):
        candidates.save_candidate(candidate, paths=paths)
        step.crash_point("models.train:candidate-saved")
        if not verdict.passed:
            raise _build_gate_refusal(verdict)


def log_run(
    tracker: ExperimentTracker,
    model: ModelDefinition,
    edition: Edition,
    training_inputs: TrainingInputs,
    candidate: Candidate,
    trained_model: TrainedModel,
    evaluation: evaluate.EvaluationResult,
) -> None:
    """Log the run in MLflow: digests, metrics and plots, but no row of data and no token."""
    report, gains = candidate.scores, trained_model.model.importance()
    names = [f"{feature.view}:{feature.name}" for feature in trained_model.spec.features]
    task_plots = model.task.draw_plots(evaluation.scores, evaluation.labels, trained_model.decoder)
    tracker.log_run(
        candidate.run,
        edition=edition,
        params={
            "model": model.name,
            "edition": edition.id,
            "task": model.task.name,
            "estimator": model.estimator.name,
            "seed": str(trained_model.spec.seed),
            "rounds": str(trained_model.spec.rounds),
            "decision_rule": trained_model.spec.decision_rule.model_dump_json()[:_MAX_PARAM_LENGTH],
            "hyperparameters": json.dumps(trained_model.settings.hyperparameters, sort_keys=True),
            "code": json.dumps(dict(training_inputs.source_digests), sort_keys=True),
        },
        metrics=_flatten_metrics(
            {**report.metrics, **{f"baseline_{name}": baseline for name, baseline in report.baselines.items()}}
        ),
        tags={
            "ws.artifact": candidate.artifact,
            "ws.candidate": candidate.id,
            "ws.gate": candidate.verdict.outcome,
            "ws.edition": editions.edition_digest(edition),
            "ws.views": candidate.views,
            "ws.code": candidate.code,
            "ws.environment": candidate.environment,
            "ws.git_commit": candidate.git_commit,
            "ws.git_dirty": str(candidate.git_dirty).lower(),
            "ws.contracts": json.dumps(
                {contract.name: contract.digest for contract in candidate.contracts}, sort_keys=True
            ),
        },
        files={
            **{f"model/{name}": content for name, content in trained_model.encode_files().items()},
            "evaluation.json": canonical.dumps_canonical(json.loads(candidates.encode_candidate(candidate))["scores"]),
            "card.md": card.write_model_card(
                model, candidate, trained_model.spec, importance=gains, mode=training_inputs.mode
            ).encode(),
            **{f"plots/{name}.svg": plot.encode() for name, plot in task_plots.items()},
            **({"plots/importance.svg": plots.plot_importance(names, gains).encode()} if gains is not None else {}),
        },
    )
    tracker.log_curves(candidate.run, trained_model.curves, edition=edition)
    tracker.register_version(
        model.name, candidate.run, tags={"ws.candidate": candidate.id, "ws.artifact": candidate.artifact}
    )
    tracker.end_run(candidate.run)


def end_failed_run(tracker: ExperimentTracker, run: str, problem: BaseException) -> None:
    """Mark a run as failed; if MLflow is unavailable, add a note to the original error."""
    try:
        tracker.end_run(run, failed=True)
    except Unavailable:
        problem.add_note(f"MLflow still shows run {run} as running")


def compute_environment_digest() -> Digest:
    """Hash the installed distributions: SHA-256 of sorted lines `name==version`."""
    versions = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return hashlib.sha256("".join(f"{name}=={versions[name]}\n" for name in sorted(versions)).encode()).hexdigest()


def _build_gate_refusal(verdict: Verdict) -> Refused:
    messages = [reason.message for reason in verdict.reasons if "was not released" in reason.message]
    return Refused(
        "\n".join(messages) or "the gate refused the candidate",
        fix="correct the features or the model file, and train again; only the owner should relax a criterion",
        verdict=verdict,
    )


def _flatten_metrics(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{suffix}": value
        for name, metric in metrics.items()
        for suffix, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high))
    }

"""Evaluate the files of a released model on the features of a newer transform: scored and gated again, not trained.

The candidate names the artifact of the earlier run and the edition, views and transform of this one. No model is
trained, so a live model can follow a change of dbt code without other weights.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from wellspring.errors import Refused
from wellspring.lake import editions
from wellspring.models.datasets.training_set import TrainingSet, build_training_set
from wellspring.models.estimators.port import FitSettings
from wellspring.models.evaluation import evaluate, gate
from wellspring.models.releases import candidates
from wellspring.models.spec.artifact import ModelArtifact
from wellspring.models.spec.definition import ModelDefinition, combine_source_digests
from wellspring.models.training.fit import TrainedModel, TrainingProgress
from wellspring.models.training.ports import TrainingData, TrainingInputs, TrainingPorts
from wellspring.models.training.run_record import (
    compute_environment_digest,
    end_failed_run,
    log_run,
    record_gate,
    require_pass,
)
from wellspring.records.models import Candidate
from wellspring.records.trust import Ref


class EvaluatedModel(NamedTuple):
    """A model that was trained before. candidate: with the run and the artifact that are evaluated again."""

    candidate: Candidate
    artifact: ModelArtifact

    def load(self, hyperparameters: str) -> TrainedModel:
        """Load the model as training returned it. hyperparameters: JSON, of its run; baselines are fitted with them."""
        spec = self.artifact.spec
        return TrainedModel(
            spec,
            self.artifact.estimator.file_name,
            self.artifact.load_model(),
            spec.load_decoder(),
            FitSettings(json.loads(hyperparameters), spec.rounds, spec.seed),
            {},
        )


def evaluate_candidate(
    model: ModelDefinition,
    evaluated: EvaluatedModel,
    data: TrainingData,
    training_inputs: TrainingInputs,
    *,
    champion: Candidate,
    ports: TrainingPorts,
    progress: TrainingProgress,
) -> Candidate:
    """Evaluate a trained model on a built edition and check it with the gate; return the candidate that passed.

    Only rows that are later than the training of the model count. champion: the candidate behind the live release.
    Raises Refused with the gate's verdict (the candidate is stored all the same), for features that the model needs and
    the views do not define, and for too few later rows; NotFound, Unavailable as `train_candidate` does.
    """
    views, edition, step, model_store = data.views, data.edition, ports.step, ports.model_store
    previous = evaluated.candidate
    code_ref = Ref(name=f"code:{model.name}", digest=combine_source_digests(training_inputs.source_digests))
    edition_ref = Ref(name=edition.subject, digest=editions.edition_digest(edition))
    views_ref = Ref(name=f"views:{views.project}", digest=views.digest)
    artifact_ref = Ref(name=f"artifact:{model.name}", digest=previous.artifact)
    _require_features(model, evaluated, data)
    leaked, audited = training_inputs.leaked_columns, training_inputs.audited_rows
    verdict = gate.check_leakage(model, views, leaked, audited, training_inputs.landing_time)
    require_pass(verdict, step, [edition_ref, views_ref, code_ref])
    progress("join", 0, 1)
    champion_artifact = model_store.read_artifact(champion.artifact)
    references = [f"{feature.view}:{feature.name}" for feature in evaluated.artifact.spec.features]
    training_set = build_training_set(model, views, data.source, edition, extra_features=references)
    training_set = _select_later_rows(training_set, previous)
    trained_model = evaluated.load(ports.tracker.get_run(previous.run).params["hyperparameters"])
    run = ports.tracker.start_run(model.name)
    environment_ref = Ref(name="environment:lock", digest=compute_environment_digest())
    inputs = [edition_ref, *training_inputs.contracts, views_ref, code_ref, environment_ref, artifact_ref]
    try:
        with step(
            "evaluate",
            f"run:{run}",
            inputs=[*inputs, Ref(name=f"run:{previous.run}")],
            facts={"model": model.name, "task": model.task.name, "estimator": previous.estimator},
        ) as act:
            progress("evaluate", 0, 1)
            evaluation = evaluate.evaluate_model(training_set, trained_model)
            trained = {name: getattr(previous.scores, name) for name in ("trained_until", "train_rows")}
            evaluation = evaluation._replace(report=evaluation.report.model_copy(update=trained))
            act.add_outputs(artifact_ref)
            act.add_facts(test_rows=len(training_set.test_rows))
            verdict = gate.check_candidate(
                f"run:{run}",
                model.name,
                evaluation.report,
                model.task,
                suspected_leaks={},
                champion=champion.id,
                comparison=evaluate.compare_to_champion(
                    training_set, trained_model, evaluation.scores, champion, champion_artifact
                ),
                landing_time=gate.select_landing_time(model, views, training_inputs.landing_time),
            )
            candidate = candidates.assign_candidate_id(
                previous.model_copy(
                    update={
                        "id": "", "known_since": ports.clock.now(), "run": run, "edition": edition.id,
                        "views": views.digest, "transform": data.transform, "code": code_ref.digest,
                        "environment": environment_ref.digest, "contracts": training_inputs.contracts,
                        "git_commit": training_inputs.revision.commit, "git_dirty": training_inputs.revision.dirty,
                        "scores": evaluation.report, "verdict": verdict,
                    }
                )
            )  # fmt: skip
            progress("record", 0, 1)
            log_run(ports.tracker, model, edition, training_inputs, candidate, trained_model, evaluation)
    except BaseException as problem:
        end_failed_run(ports.tracker, run, problem)
        raise
    with ports.fence.fence_writes(f"training:{model.name}"):
        record_gate(candidate, champion.id, step=step, paths=model_store.paths)
    return candidate


def _require_features(model: ModelDefinition, evaluated: EvaluatedModel, data: TrainingData) -> None:
    """Raise Refused for a feature of the model that the views do not define, or define with another type."""
    if evaluated.candidate.task != model.task.name or evaluated.candidate.estimator != model.estimator.name:
        raise Refused(
            f"the model file of {model.name} has another task or estimator than {evaluated.candidate.subject}",
            fix=f"run `wellspring train {model.name}`",
        )
    for feature_input in evaluated.artifact.spec.features:
        view = data.views.find_view(feature_input.view)
        feature = view.find_feature(feature_input.name) if view is not None else None
        if feature is None or feature.type != feature_input.type:
            raise Refused(
                f"{evaluated.candidate.subject} needs the feature {feature_input.view}.{feature_input.name}, which the "
                "views do not define with this type",
                fix=f"run `wellspring train {model.name}`: a model on other features is a new model",
            )


def _select_later_rows(training_set: TrainingSet, candidate: Candidate) -> TrainingSet:
    """Keep the test rows that are later than the training of a model. Raises Refused without any."""
    trained_until = evaluate.find_training_end(candidate.scores)
    if trained_until is None:
        raise Refused(
            f"{candidate.subject} does not record the end of its train rows",
            fix=f"run `wellspring train {candidate.model}`",
        )
    later = training_set.test_rows[training_set.asked_at[training_set.test_rows] > trained_until]
    if not len(later):
        raise Refused(
            f"the edition has no labelled rows later than the training of {candidate.subject}",
            fix="ingest newer outcomes, or train a new model",
        )
    return training_set._replace(test_rows=later)

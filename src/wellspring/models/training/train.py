"""Train a model on a built edition, check it with the gate and store it; reproduce a run with the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from wellspring.errors import CorruptedError, Refused
from wellspring.lake import editions
from wellspring.models.datasets.training_set import build_training_set
from wellspring.models.estimators.port import find_trained_file
from wellspring.models.evaluation import evaluate, gate
from wellspring.models.releases import candidates
from wellspring.models.spec import artifact, definition
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.training.fit import TrainingProgress, fit_model
from wellspring.models.training.ports import TrainingData, TrainingInputs, TrainingPorts
from wellspring.models.training.run_record import (
    compute_environment_digest,
    end_failed_run,
    log_run,
    record_gate,
    require_pass,
)
from wellspring.records.features import FeatureViews
from wellspring.records.models import Candidate
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref


def train_candidate(
    model: ModelDefinition,
    data: TrainingData,
    training_inputs: TrainingInputs,
    *,
    champion: Candidate | None,
    ports: TrainingPorts,
    progress: TrainingProgress,
) -> Candidate:
    """Train a model on a built edition and check it with the gate; return the candidate that passed.

    champion: the candidate behind the live release of this model. Raises Refused with the gate's verdict (the candidate
    is stored all the same), or before training when a feature leaks; NotFound and ProjectError for a model file that
    does not fit the features; Unavailable when MLflow is down, before training.
    """
    views, edition, step, model_store = data.views, data.edition, ports.step, ports.model_store
    code_ref = Ref(name=f"code:{model.name}", digest=definition.combine_source_digests(training_inputs.source_digests))
    edition_ref = Ref(name=edition.subject, digest=editions.edition_digest(edition))
    views_ref = Ref(name=f"views:{views.project}", digest=views.digest)
    refs = [edition_ref, views_ref, code_ref]
    leaked, audited = training_inputs.leaked_columns, training_inputs.audited_rows
    require_pass(gate.check_leakage(model, views, leaked, audited, training_inputs.landing_time), step, refs)
    progress("join", 0, 1)
    champion_artifact = None if champion is None else model_store.read_artifact(champion.artifact)
    extra_features = [] if champion_artifact is None else _known_features(champion_artifact, views)
    training_set = build_training_set(model, views, data.source, edition, extra_features=extra_features)
    inputs = training_set.inputs()
    require_pass(
        gate.check_target_leakage(model.subject, model.name, evaluate.detect_target_leakage(training_set, inputs)),
        step,
        refs,
    )
    require_pass(gate.check_training_end(model, training_set.split_at), step, refs)
    run = ports.tracker.start_run(model.name)
    environment_ref = Ref(name="environment:lock", digest=compute_environment_digest())
    input_refs = [edition_ref, *training_inputs.contracts, views_ref, code_ref, environment_ref]
    try:
        with step("train", f"run:{run}", inputs=input_refs, facts=_train_facts(model, training_inputs)) as act:
            trained_model = fit_model(training_set, inputs, progress=progress)
            progress("evaluate", 0, 1)
            evaluation = evaluate.evaluate_model(training_set, trained_model)
            artifact_digest = model_store.write_artifact(trained_model.encode_files(), ports.signer)
            step.crash_point("models.train:artifact-written")
            act.add_outputs(Ref(name=f"artifact:{model.name}", digest=artifact_digest))
            act.add_facts(
                train_rows=len(training_set.train_rows),
                test_rows=len(training_set.test_rows),
                unlabeled_rows=training_set.eligible_rows - len(training_set.test_rows),
                excluded_label_known=training_set.excluded_label_known,
                excluded_after_build=training_set.excluded_after_build,
            )
            comparison = (
                None
                if champion is None or champion_artifact is None
                else evaluate.compare_to_champion(
                    training_set, trained_model, evaluation.scores, champion, champion_artifact
                )
            )
            verdict = gate.check_candidate(
                f"run:{run}",
                model.name,
                evaluation.report,
                model.task,
                suspected_leaks={},
                champion=champion.id if champion is not None else None,
                comparison=comparison,
                trained_file=find_trained_file(model.estimator),
                landing_time=gate.select_landing_time(model, views, training_inputs.landing_time),
            )
            candidate = candidates.assign_candidate_id(
                Candidate(
                    id="", tenant=edition.tenant, known_since=ports.clock.now(), model=model.name, run=run,
                    task=model.task.name, estimator=model.estimator.name,
                    git_commit=training_inputs.revision.commit, git_dirty=training_inputs.revision.dirty,
                    edition=edition.id, artifact=artifact_digest, views=views.digest, transform=data.transform,
                    code=code_ref.digest or "", environment=environment_ref.digest or "",
                    contracts=training_inputs.contracts, scores=evaluation.report, verdict=verdict,
                )
            )  # fmt: skip
            progress("record", 0, 1)
            log_run(ports.tracker, model, edition, training_inputs, candidate, trained_model, evaluation)
    except BaseException as problem:
        end_failed_run(ports.tracker, run, problem)
        raise
    with ports.fence.fence_writes(f"training:{model.name}"):
        record_gate(candidate, champion.id if champion is not None else "", step=step, paths=model_store.paths)
    return candidate


def reproduce_run(
    run: str,
    model: ModelDefinition,
    open_data: Callable[[str], TrainingData],
    *,
    source_digests: Mapping[str, Digest],
    ports: TrainingPorts,
    progress: TrainingProgress,
) -> dict[str, Digest]:
    """Train a run again and return the digests of its files, which must be the same.

    open_data: opens the data of an edition by its id. source_digests: of the code as it is now.
    Raises Refused, naming the files, when the code or the installed packages changed; CorruptedError when a byte
    differs.
    """
    run_record = ports.tracker.get_run(run)
    recorded_digests: dict[str, Digest] = json.loads(run_record.params.get("code", "{}"))
    if changed := sorted(
        name
        for name in recorded_digests.keys() | source_digests.keys()
        if recorded_digests.get(name) != source_digests.get(name)
    ):
        raise Refused(
            f"run {run} was trained with other code: {', '.join(changed)}",
            fix="restore these files from version control, then reproduce the run",
        )
    if run_record.tags.get("ws.environment") != compute_environment_digest():
        raise Refused(
            f"run {run} was trained with other packages than are installed now",
            fix="install the packages of the uv.lock of that time; other builds give other bytes",
        )
    recorded_files = artifact.verify_artifact(
        run_record.tags.get("ws.artifact", ""), paths=ports.model_store.paths, keys=ports.model_store.keys
    )
    with ports.step("reproduce", f"run:{run}", inputs=[Ref(name=f"run:{run}")]) as act:
        training_set = build_training_set(model, *open_data(run_record.params["edition"])[:3])
        trained_model = fit_model(
            training_set, progress=progress, hyperparameters=json.loads(run_record.params["hyperparameters"])
        )
        reproduced_files = {
            name: hashlib.sha256(content).hexdigest() for name, content in trained_model.encode_files().items()
        }
        if different_files := sorted(
            name for name, digest in reproduced_files.items() if recorded_files[name] != digest
        ):
            raise CorruptedError(
                f"the reproduction of run {run} gives other bytes: {', '.join(different_files)}",
                fix="stop; its data, code or packages differ from the recorded ones",
            )
        act.add_facts(files=len(reproduced_files))
    return reproduced_files


def _train_facts(model: ModelDefinition, training_inputs: TrainingInputs) -> dict[str, JsonValue]:
    facts: dict[str, JsonValue] = {"model": model.name, "task": model.task.name, "estimator": model.estimator.name}
    if training_inputs.revision.commit:
        facts |= {"git_commit": training_inputs.revision.commit, "git_dirty": training_inputs.revision.dirty}
    if (trained_file := find_trained_file(model.estimator)) is not None:
        facts |= {"trained_elsewhere": trained_file.name, "trained_until": format_instant(trained_file.trained_until)}
    return facts


def _known_features(champion: artifact.ModelArtifact, views: FeatureViews) -> list[str]:
    """List the features of a live model that the feature views still define."""
    references: list[str] = []
    for feature in champion.spec.features:
        view = views.find_view(feature.view)
        if view is not None and view.find_feature(feature.name) is not None:
            references.append(f"{feature.view}:{feature.name}")
    return references

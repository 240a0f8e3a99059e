"""Train a model on a built edition, check it with the gate and store it; reproduce a run with the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.lake import editions
from wellspring.models.datasets.training_set import TrainingSource, build_training_set
from wellspring.models.estimators.port import find_trained_file
from wellspring.models.evaluation import card, evaluate, gate
from wellspring.models.metrics import plots
from wellspring.models.releases import candidates
from wellspring.models.spec import artifact, definition
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.tracking.mlflow import RunRecord
from wellspring.models.training.fit import TrainedModel, TrainingProgress, fit_model
from wellspring.records.clock import Clock
from wellspring.records.features import FeatureViews
from wellspring.records.lake import Edition
from wellspring.records.models import Candidate, Estimate
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.runtime.git import GitRevision
from wellspring.stores.locks.port import WriteFence
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import canonical, notes

_MAX_PARAM_LENGTH = 5000
"""MLflow accepts at most 6,000 characters."""


class ExperimentTracker(Protocol):
    """The part of the experiment tracker that training needs (`MlflowRegistry`)."""

    def start_run(self, model: str) -> str: ...

    def log_run(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None: ...

    def log_curves(self, run: str, curves: Mapping[str, Sequence[float]], *, edition: Edition) -> None: ...

    def end_run(self, run: str, *, failed: bool = False) -> None: ...

    def register_version(self, model: str, run: str, *, tags: Mapping[str, str]) -> str: ...

    def get_run(self, run: str) -> RunRecord: ...


class ModelStore(NamedTuple):
    """The storage of models. paths: the models folder; key: the verifier key `ORIGIN/models`."""

    objects: ContentStore
    paths: NamedBlobStore
    key: notes.VerifierKey

    def read_artifact(self, digest: Digest) -> artifact.ModelArtifact:
        """Read the files of a model, as `artifact.read_artifact`."""
        return artifact.read_artifact(digest, objects=self.objects, paths=self.paths, key=self.key)

    def write_artifact(self, files: Mapping[str, bytes], signer: LogSigner) -> Digest:
        """Store the files of a model, as `artifact.write_artifact`."""
        return artifact.write_artifact(files, objects=self.objects, paths=self.paths, key=self.key, signer=signer)


class TrainingInputs(NamedTuple):
    """The inputs of a training besides the data.

    leaked_columns, audited_rows: of the leakage audit. landing_time: tables whose rows are known since they landed.
    """

    source_digests: Mapping[str, Digest]
    contracts: tuple[Ref, ...]
    leaked_columns: tuple[str, ...]
    audited_rows: Mapping[str, int]
    revision: GitRevision = GitRevision()
    landing_time: tuple[str, ...] = ()


class TrainingData(NamedTuple):
    """What a model is trained on: features of a built edition. transform: digest of the edition's dbt project."""

    views: FeatureViews
    source: TrainingSource
    edition: Edition
    transform: Digest = ""


class TrainingPorts(NamedTuple):
    """Where a training reads and writes. signer: of the manifest of the model's files. fence: around the candidate."""

    step: Recorder
    tracker: ExperimentTracker
    model_store: ModelStore
    signer: LogSigner
    clock: Clock
    fence: WriteFence


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
    _require_pass(gate.check_leakage(model, views, leaked, audited, training_inputs.landing_time), step, refs)
    progress("join", 0, 1)
    champion_artifact = None if champion is None else model_store.read_artifact(champion.artifact)
    extra_features = [] if champion_artifact is None else _known_features(champion_artifact, views)
    training_set = build_training_set(model, views, data.source, edition, extra_features=extra_features)
    inputs = training_set.inputs()
    _require_pass(
        gate.check_target_leakage(model.subject, model.name, evaluate.detect_target_leakage(training_set, inputs)),
        step,
        refs,
    )
    _require_pass(gate.check_training_end(model, training_set.split_at), step, refs)
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
            _log_run(ports.tracker, model, edition, training_inputs, candidate, trained_model, evaluation)
    except BaseException as problem:
        _end_failed_run(ports.tracker, run, problem)
        raise
    with ports.fence.fence_writes(f"training:{model.name}"):
        _record_gate(candidate, champion.id if champion is not None else "", step=step, paths=model_store.paths)
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
        run_record.tags.get("ws.artifact", ""), paths=ports.model_store.paths, key=ports.model_store.key
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


def compute_environment_digest() -> Digest:
    """Hash the installed distributions: SHA-256 of sorted lines `name==version`."""
    versions = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return hashlib.sha256("".join(f"{name}=={versions[name]}\n" for name in sorted(versions)).encode()).hexdigest()


def _require_pass(verdict: Verdict, step: Recorder, inputs: Collection[Ref]) -> None:
    """Record and raise a refusal unless a verdict passed."""
    if verdict.passed:
        return
    with step("gate", verdict.subject, inputs=inputs, facts={"outcome": verdict.outcome}):
        raise _build_gate_refusal(verdict)


def _record_gate(candidate: Candidate, champion: str, *, step: Recorder, paths: NamedBlobStore) -> None:
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


def _build_gate_refusal(verdict: Verdict) -> Refused:
    messages = [reason.message for reason in verdict.reasons if "was not released" in reason.message]
    return Refused(
        "\n".join(messages) or "the gate refused the candidate",
        fix="correct the features or the model file, and train again; only the owner should relax a criterion",
        verdict=verdict,
    )


def _log_run(
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
            "card.md": card.write_model_card(model, candidate, trained_model.spec, importance=gains).encode(),
            **{f"plots/{name}.svg": plot.encode() for name, plot in task_plots.items()},
            **({"plots/importance.svg": plots.plot_importance(names, gains).encode()} if gains is not None else {}),
        },
    )
    tracker.log_curves(candidate.run, trained_model.curves, edition=edition)
    tracker.register_version(
        model.name, candidate.run, tags={"ws.candidate": candidate.id, "ws.artifact": candidate.artifact}
    )
    tracker.end_run(candidate.run)


def _train_facts(model: ModelDefinition, training_inputs: TrainingInputs) -> dict[str, JsonValue]:
    facts: dict[str, JsonValue] = {"model": model.name, "task": model.task.name, "estimator": model.estimator.name}
    if training_inputs.revision.commit:
        facts |= {"git_commit": training_inputs.revision.commit, "git_dirty": training_inputs.revision.dirty}
    if (trained_file := find_trained_file(model.estimator)) is not None:
        facts |= {"trained_elsewhere": trained_file.name, "trained_until": format_instant(trained_file.trained_until)}
    return facts


def _end_failed_run(tracker: ExperimentTracker, run: str, problem: BaseException) -> None:
    """Mark a run as failed; if MLflow is unavailable, add a note to the original error."""
    try:
        tracker.end_run(run, failed=True)
    except Unavailable:
        problem.add_note(f"MLflow still shows run {run} as running")


def _flatten_metrics(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{suffix}": value
        for name, metric in metrics.items()
        for suffix, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high))
    }


def _known_features(champion: artifact.ModelArtifact, views: FeatureViews) -> list[str]:
    """List the features of a live model that the feature views still define."""
    references: list[str] = []
    for feature in champion.spec.features:
        view = views.find_view(feature.view)
        if view is not None and view.find_feature(feature.name) is not None:
            references.append(f"{feature.view}:{feature.name}")
    return references

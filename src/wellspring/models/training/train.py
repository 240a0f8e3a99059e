"""Learn a model from a built edition, judge it, and keep it: the same run again gives the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.lake import editions
from wellspring.models.datasets.training_set import TableReader, TrainingSet, build_training_set
from wellspring.models.estimators import lightgbm
from wellspring.models.estimators.search import Hyperparameters, search_hyperparameters
from wellspring.models.evaluation import calibration, card, evaluate, gate, plots
from wellspring.models.spec import artifact, definition
from wellspring.models.spec.artifact import BOOSTER_FILE, SPEC_FILE, FeatureInput, InferenceSpec
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.tracking.mlflow import RunRecord
from wellspring.records.clock import Clock
from wellspring.records.data import Edition, FeatureViews
from wellspring.records.models import Candidate, Estimate
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import canonical, notes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TrainingProgress = Callable[[str, int, int], None]
VALIDATION_SHARE = 0.2
"""The newest share of the train rows: trials, calibration and threshold are judged on it, then it is learned too."""


class ExperimentTracker(Protocol):
    """What is asked of the place that keeps runs (`models.registry.Registry`)."""

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

    def end_run(self, run: str, *, failed: bool = False) -> None: ...

    def register_version(self, model: str, run: str, *, tags: Mapping[str, str]) -> str: ...

    def get_run(self, run: str) -> RunRecord: ...


class ModelStore(NamedTuple):
    """Where models are kept, and by whose key. paths: of the models' folder; key: `ORIGIN/models`."""

    objects: ContentStore
    paths: NamedBlobStore
    key: notes.VerifierKey


class TrainingInputs(NamedTuple):
    """What a training rests on beside the data. code: digest of each file; contracts: those that the data kept.

    leaks: columns that the edition's publish says knew the future, `table.column`. audited: of how many rows of each
    table that was asked.
    """

    source_digests: Mapping[str, Digest]
    contracts: tuple[Ref, ...]
    leaked_columns: tuple[str, ...]
    audited_rows: Mapping[str, int]


class TrainedModel(NamedTuple):
    """A trained model. settings: LightGBM's, as the search chose them."""

    spec: InferenceSpec
    booster: lightgbm.Booster
    hyperparameters: Hyperparameters

    def encode_files(self) -> dict[str, bytes]:
        """The two files of the artefact."""
        return {BOOSTER_FILE: lightgbm.dump_booster(self.booster).encode(), SPEC_FILE: self.spec.encode()}


def train_candidate(
    model: ModelDefinition,
    views: FeatureViews,
    lake: TableReader,
    edition: Edition,
    *,
    training_inputs: TrainingInputs,
    champion: Candidate | None,
    step: Recorder,
    tracker: ExperimentTracker,
    model_store: ModelStore,
    signer: LogSigner,
    clock: Clock,
    progress: TrainingProgress,
) -> Candidate:
    """Train a model on a built edition and hold it against its gate; return the candidate that passed.

    live: the candidate behind what is live of this model. Raises Refused with the gate's verdict (the candidate is kept
    all the same, for whoever asks why), or before anything is trained when a feature leaks; NotFound and ProjectError
    for a model file that does not fit; Unavailable when MLflow is down, before anything is trained.
    """
    code_ref = Ref(name=f"code:{model.name}", digest=definition.combine_source_digests(training_inputs.source_digests))
    edition_ref = Ref(name=edition.subject, digest=editions.edition_digest(edition))
    views_ref = Ref(name=f"views:{views.project}", digest=views.digest)
    _require_pass(
        gate.check_leakage(model, views, training_inputs.leaked_columns, training_inputs.audited_rows),
        step,
        [edition_ref, views_ref, code_ref],
    )
    progress("join", 0, 1)
    champion_artifact = (
        None
        if champion is None
        else artifact.read_artifact(
            champion.artifact, objects=model_store.objects, paths=model_store.paths, key=model_store.key
        )
    )
    extra_features = (
        []
        if champion_artifact is None
        else [f"{feature.view}:{feature.name}" for feature in champion_artifact.spec.features]
    )
    training_set = build_training_set(
        model,
        views,
        lake,
        edition,
        extra_features=[extra_feature for extra_feature in extra_features if _has_feature(extra_feature, views)],
    )
    inputs = training_set.inputs()
    _require_pass(
        gate.check_target_leakage(model.subject, model.name, evaluate.detect_target_leakage(training_set, inputs)),
        step,
        [edition_ref, views_ref, code_ref],
    )
    run = tracker.start_run(model.name)
    environment_ref = Ref(name="environment:lock", digest=compute_environment_digest())
    input_refs = [edition_ref, *training_inputs.contracts, views_ref, code_ref, environment_ref]
    try:
        with step("train", f"run:{run}", inputs=input_refs, facts={"model": model.name}) as act:
            trained_model = fit_model(training_set, inputs, progress=progress)
            progress("evaluate", 0, 1)
            evaluation = evaluate.evaluate_model(training_set, trained_model)
            artifact_digest = artifact.write_artifact(
                trained_model.encode_files(),
                objects=model_store.objects,
                paths=model_store.paths,
                key=model_store.key,
                signer=signer,
            )
            step.crash_point("models.train:artifact-written")
            act.add_outputs(Ref(name=f"artifact:{model.name}", digest=artifact_digest))
            act.add_facts(
                train_rows=len(training_set.train_rows), test_rows=len(training_set.test_rows), unlabeled_rows=training_set.eligible_rows - len(training_set.test_rows),
                excluded_label_known=training_set.excluded_label_known, excluded_after_build=training_set.excluded_after_build,
            )  # fmt: skip
            comparison = (
                None
                if champion is None or champion_artifact is None
                else evaluate.compare_to_champion(training_set, evaluation.probabilities, champion, champion_artifact)
            )
            verdict = gate.check_candidate(
                f"run:{run}", model.name, evaluation.report, model.acceptance_criteria, positives=evaluation.positives, suspected_leaks={},
                champion=champion.id if champion is not None else None, comparison=comparison,
            )  # fmt: skip
            candidate = assign_candidate_id(
                Candidate(
                    id="", tenant=edition.tenant, known_since=clock.now(), model=model.name, run=run,
                    edition=edition.id, artifact=artifact_digest, views=views.digest, code=code_ref.digest or "",
                    environment=environment_ref.digest or "", contracts=training_inputs.contracts, scores=evaluation.report,
                    verdict=verdict,
                )
            )  # fmt: skip
            progress("record", 0, 1)
            _log_run(tracker, model, edition, training_inputs, candidate, trained_model, evaluation)
    except BaseException as problem:
        _end_failed_run(tracker, run, problem)
        raise
    _record_gate(candidate, champion.id if champion is not None else "", step=step, paths=model_store.paths)
    return candidate


def fit_model(
    training_set: TrainingSet,
    inputs: tuple[FeatureInput, ...] | None = None,
    *,
    progress: TrainingProgress,
    hyperparameters: Hyperparameters | None = None,
) -> TrainedModel:
    """Look for settings, then train with them; settings given: only train, which gives the same bytes.

    Settings, rounds, calibration and threshold are chosen on the newest fifth of the train rows by a model that did not
    learn from it; then one of as many rounds learns from all of them.
    """
    model, inputs = training_set.model, inputs or training_set.inputs()
    feature_names = [joined_column_name(item.view, item.name) for item in inputs]
    categorical = [position for position, item in enumerate(inputs) if item.type == "string"]
    features, labels = (
        training_set.matrix(inputs, training_set.train_rows),
        training_set.labels[training_set.train_rows],
    )
    split_index = int(len(labels) * (1 - VALIDATION_SHARE))
    validation = (features[split_index:], labels[split_index:])
    if len(set(labels[:split_index].tolist())) < 2 or len(set(labels[split_index:].tolist())) < 2:
        raise Refused(
            f"{model.name} cannot be learned: its train rows are of one kind for most of their time",
            fix="receive more history",
        )
    if hyperparameters is None:
        hyperparameters = search_hyperparameters(
            features[:split_index], labels[:split_index], validation, feature_names=feature_names, categorical=categorical, search=model.search,
            progress=lambda done, total: progress("search", done, total),
        ).hyperparameters  # fmt: skip
    seed = model.search.seed
    early_booster = lightgbm.fit_booster(
        features[:split_index], labels[:split_index], feature_names=feature_names, categorical=categorical, hyperparameters=hyperparameters,
        rounds=model.search.rounds, seed=seed, validation=validation,
    )  # fmt: skip
    rounds = lightgbm.get_best_iteration(early_booster)
    raw_scores = lightgbm.predict_raw_scores(early_booster, validation[0])
    platt = calibration.fit_platt(raw_scores, validation[1])
    threshold = calibration.choose_threshold(
        model.threshold, calibration.calibrate_scores(platt, raw_scores), validation[1]
    )
    progress("train", 0, 1)
    booster = lightgbm.fit_booster(
        features,
        labels,
        feature_names=feature_names,
        categorical=categorical,
        hyperparameters=hyperparameters,
        rounds=rounds,
        seed=seed,
    )
    keys = {feature.view.name: feature.view.keys for feature in training_set.features}
    spec = InferenceSpec(
        model=model.name, features=inputs, calibration=platt, threshold=threshold, labels=model.labels, keys=keys,
        seed=seed, rounds=rounds,
    )  # fmt: skip
    return TrainedModel(spec, booster, hyperparameters)


def reproduce_run(
    run: str,
    model: ModelDefinition,
    views: FeatureViews,
    lake: TableReader,
    get_edition: Callable[[str], Edition],
    *,
    source_digests: Mapping[str, Digest],
    step: Recorder,
    tracker: ExperimentTracker,
    model_store: ModelStore,
    progress: TrainingProgress,
) -> dict[str, Digest]:
    """Train a run again and return the digests of its files, every byte the same. edition: finds one by its id.

    Raises Refused that names the file when the code is another now, or the environment; Broken when a byte differs.
    """
    run_record = tracker.get_run(run)
    recorded_digests: dict[str, Digest] = json.loads(run_record.params.get("code", "{}"))
    if changed := sorted(
        name
        for name in recorded_digests.keys() | source_digests.keys()
        if recorded_digests.get(name) != source_digests.get(name)
    ):
        raise Refused(
            f"run {run} was trained by other code: {', '.join(changed)}",
            fix="bring these files back from their history, and train it again with them",
        )
    if run_record.tags.get("ws.environment") != compute_environment_digest():
        raise Refused(
            f"run {run} was trained with other packages than are installed here",
            fix="install what uv.lock of that time names; other builds give other bytes",
        )
    recorded_files = artifact.verify_artifact(
        run_record.tags.get("ws.artifact", ""), paths=model_store.paths, key=model_store.key
    )
    with step("reproduce", f"run:{run}", inputs=[Ref(name=f"run:{run}")]) as act:
        training_set = build_training_set(model, views, lake, get_edition(run_record.params["edition"]))
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
                f"run {run} trained again gives other bytes: {', '.join(different_files)}",
                fix="stop; its data, code or packages are not what it says they were",
            )
        act.add_facts(files=len(reproduced_files))
    return reproduced_files


def assign_candidate_id(candidate: Candidate) -> Candidate:
    """Name a candidate by its own bytes."""
    return candidate.model_copy(update={"id": artifact.candidate_digest(candidate)[:12]})


def compute_environment_digest() -> Digest:
    """Digest the installed distributions: SHA-256 of `name==version`, a line each, sorted."""
    versions = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return hashlib.sha256("".join(f"{name}=={versions[name]}\n" for name in sorted(versions)).encode()).hexdigest()


def _require_pass(verdict: Verdict, step: Recorder, inputs: Collection[Ref]) -> None:
    """Refuse, on the record, what need not be trained to be known for bad."""
    if verdict.passed:
        return
    with step("gate", verdict.subject, inputs=inputs, facts={"outcome": verdict.outcome}):
        raise _build_gate_refusal(verdict)


def _record_gate(candidate: Candidate, champion: str, *, step: Recorder, paths: NamedBlobStore) -> None:
    """Record what the gate said, and refuse what it did not let pass. live: the candidate beside it, '' for none."""
    verdict, metrics = candidate.verdict, candidate.scores.metrics
    with step(
        "gate",
        candidate.subject,
        inputs=[Ref(name=f"run:{candidate.run}"), Ref(name=f"artifact:{candidate.model}", digest=candidate.artifact)],
        outputs=[Ref(name=candidate.subject, digest=artifact.candidate_digest(candidate))],
        facts={
            "model": candidate.model,
            "live": champion,
            "outcome": verdict.outcome,
            "reasons": [reason.code for reason in verdict.reasons],
            "metrics": {name: [repr(item.value), repr(item.low), repr(item.high)] for name, item in metrics.items()},
        },
    ):
        artifact.save_candidate(candidate, paths=paths)
        step.crash_point("models.train:candidate-saved")
        if not verdict.passed:
            raise _build_gate_refusal(verdict)


def _build_gate_refusal(verdict: Verdict) -> Refused:
    messages = [reason.message for reason in verdict.reasons if "was not released" in reason.message]
    return Refused(
        "\n".join(messages) or "the gate did not let it pass",
        fix="mend the features or the model file, and learn it again; a bar is lowered only by its owner",
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
    """Write the run down in MLflow: digests, figures and pictures; no row of data, and no token."""
    report, gains = candidate.scores, lightgbm.compute_importance(trained_model.booster)
    names = [f"{feature.view}:{feature.name}" for feature in trained_model.spec.features]
    tracker.log_run(
        candidate.run,
        edition=edition,
        params={
            "model": model.name,
            "edition": edition.id,
            "seed": str(model.search.seed),
            "rounds": str(trained_model.spec.rounds),
            "threshold": trained_model.spec.threshold,
            "hyperparameters": json.dumps(trained_model.hyperparameters, sort_keys=True),
            "code": json.dumps(dict(training_inputs.source_digests), sort_keys=True),
        },
        metrics=_flatten_metrics(
            {**report.metrics, **{f"baseline_{name}": item for name, item in report.baselines.items()}}
        ),
        tags={
            "ws.artifact": candidate.artifact,
            "ws.candidate": candidate.id,
            "ws.gate": candidate.verdict.outcome,
            "ws.edition": editions.edition_digest(edition),
            "ws.views": candidate.views,
            "ws.code": candidate.code,
            "ws.environment": candidate.environment,
            "ws.contracts": json.dumps(
                {contract.name: contract.digest for contract in candidate.contracts}, sort_keys=True
            ),
        },
        files={
            **{f"model/{name}": content for name, content in trained_model.encode_files().items()},
            "evaluation.json": canonical.dumps_canonical(json.loads(artifact.encode_candidate(candidate))["scores"]),
            "card.md": card.write_model_card(model, candidate, trained_model.spec, importance=gains).encode(),
            "plots/calibration.svg": plots.plot_calibration(
                evaluation.probabilities, evaluation.labels, bins=model.acceptance_criteria.calibration_bins
            ).encode(),
            "plots/roc.svg": plots.plot_roc(evaluation.probabilities, evaluation.labels).encode(),
            "plots/importance.svg": plots.plot_importance(names, gains).encode(),
        },
    )
    tracker.register_version(
        model.name, candidate.run, tags={"ws.candidate": candidate.id, "ws.artifact": candidate.artifact}
    )
    tracker.end_run(candidate.run)


def _end_failed_run(tracker: ExperimentTracker, run: str, problem: BaseException) -> None:
    """End a run that came to nothing; that MLflow cannot be told so is a lesser news than why."""
    try:
        tracker.end_run(run, failed=True)
    except Unavailable:
        problem.add_note(f"MLflow still shows run {run} as under way")


def _flatten_metrics(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{suffix}": value
        for name, metric in metrics.items()
        for suffix, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high))
    }


def _has_feature(reference: str, views: FeatureViews) -> bool:
    view = views.find_view(reference.partition(":")[0])
    return view is not None and view.find_feature(reference.partition(":")[2]) is not None

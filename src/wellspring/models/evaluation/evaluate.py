"""Evaluate a model on rows later than its train rows: metrics, baselines, subgroups, and the cost of reasons."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.errors import ProjectError, Refused
from wellspring.models.datasets.training_set import TrainingSet
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.port import (
    Estimator,
    FeatureColumns,
    FitSettings,
    FittedModel,
    LabeledRows,
    find_trained_file,
)
from wellspring.models.evaluation.gate import ChampionComparison, find_missing_evidence
from wellspring.models.spec.artifact import ModelArtifact
from wellspring.models.spec.baselines import Baseline
from wellspring.models.spec.inference_spec import FeatureInput, InferenceSpec
from wellspring.models.tasks.port import Decoder, count_class_rows
from wellspring.records.instants import from_epoch_micros, to_epoch_micros
from wellspring.records.models import Candidate, Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import format_instant
from wellspring.records.tokens import TOKEN_PATTERN

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_SUBGROUPS = 50
STAND_IN_ROUNDS = 100
"""Rounds of LightGBM where it fits baselines in place of an estimator that cannot."""
_MICROS_PER_DAY = 86_400_000_000


class EvaluableModel(Protocol):
    """A trained model, its decoder, and the settings that it was fitted with."""

    @property
    def spec(self) -> InferenceSpec: ...
    @property
    def model(self) -> FittedModel: ...
    @property
    def decoder(self) -> Decoder: ...
    @property
    def settings(self) -> FitSettings: ...


class EvaluationResult(NamedTuple):
    """The report of an evaluation. scores, labels: of the test rows, in their order."""

    report: EvaluationReport
    scores: Array
    labels: Array


def evaluate_model(training_set: TrainingSet, trained_model: EvaluableModel) -> EvaluationResult:
    """Evaluate a model and its baselines on the test rows of its training set."""
    spec, task = trained_model.spec, training_set.model.task
    labels = training_set.labels[training_set.test_rows]
    test_features = training_set.matrix(spec.features, training_set.test_rows)
    scores = trained_model.decoder.calibrate_rows(trained_model.model.predict_rows(test_features))
    report = EvaluationReport(
        task=task.name,
        main_metric=task.main_metric,
        metrics=task.measure(scores, labels, trained_model.decoder, seed=spec.seed),
        baselines=evaluate_baselines(training_set, trained_model),
        subgroups=tuple(_evaluate_subgroups(training_set, scores, trained_model.decoder)),
        class_rows=count_class_rows(labels, training_set.classes),
        train_rows=len(training_set.train_rows),
        test_rows=len(training_set.test_rows),
        trained_until=format_instant(_find_training_end(training_set)),
        since=_format_day(training_set.split_at),
        until=_format_day(int(training_set.asked_at[training_set.test_rows].max()) + _MICROS_PER_DAY),
        reason_microseconds=_time_reasons(trained_model, test_features),
        size=trained_model.model.size(),
    )
    return EvaluationResult(report, scores, labels)


def evaluate_baselines(training_set: TrainingSet, trained_model: EvaluableModel) -> dict[str, Estimate]:
    """Measure the main metric of the model's baselines on the same rows, with the same hyperparameters and rounds."""
    labels, seed = training_set.labels[training_set.test_rows], trained_model.spec.seed
    return {
        baseline.name: training_set.model.task.measure_raw(
            _baseline_output(training_set, trained_model, baseline), labels, seed=seed
        )
        for baseline in training_set.model.baselines
    }


def compare_to_champion(
    training_set: TrainingSet,
    trained_model: EvaluableModel,
    scores: Array,
    champion: Candidate,
    artifact: ModelArtifact,
) -> ChampionComparison:
    """Compare a candidate with the live model on test rows that the live model was not trained on.

    scores: of the candidate. champion: the candidate behind the live release; trained with another split, it may have
    seen rows of this window.
    """
    spec, task = artifact.spec, training_set.model.task
    if spec.task != task.name:
        return ChampionComparison(champion.id, None, f"its task is {spec.task}, and that of the candidate {task.name}")
    if changed_features := [
        f"{feature.view}.{feature.name}" for feature in spec.features if not _is_unchanged(training_set, feature)
    ]:
        return ChampionComparison(
            champion.id,
            None,
            f"it uses {', '.join(changed_features[:3])}, which was removed from the features or has another type now",
        )
    trained_until = find_training_end(champion.scores)
    if trained_until is None:
        return ChampionComparison(champion.id, None, "its candidate does not record the end of its train rows")
    unseen = training_set.asked_at[training_set.test_rows] > trained_until
    labels = training_set.labels[training_set.test_rows][unseen]
    class_rows = count_class_rows(labels, training_set.classes)
    if not unseen.all() and find_missing_evidence(task, len(labels), class_rows):
        return ChampionComparison(
            champion.id, None, f"it was trained on rows of this window, and the {len(labels):,} other rows are too few"
        )
    features = training_set.matrix(spec.features, training_set.test_rows[unseen])
    champion_decoder = spec.load_decoder()
    champion_scores = champion_decoder.calibrate_rows(artifact.load_model().predict_rows(features))
    comparison = task.compare_scores(
        scores[unseen],
        trained_model.decoder,
        champion_scores,
        champion_decoder,
        labels,
        training_set.classes,
        seed=trained_model.spec.seed,
    )
    return ChampionComparison(champion.id, comparison)


def detect_target_leakage(training_set: TrainingSet, inputs: Sequence[FeatureInput]) -> dict[str, str]:
    """Find features that determine the label by their value or by being missing; return evidence by `view.feature`.

    Measured on the train rows, before training.
    """
    labels = training_set.labels[training_set.train_rows]
    train_features = training_set.matrix(inputs, training_set.train_rows)
    suspected_leaks: dict[str, str] = {}
    for position, feature_input in enumerate(inputs):
        evidence = training_set.model.task.find_target_leak(
            train_features[:, position], labels, categorical=feature_input.type == "string"
        )
        if evidence is not None:
            suspected_leaks[f"{feature_input.view}.{feature_input.name}"] = evidence
    return suspected_leaks


def shuffled_label_control(training_set: TrainingSet, trained_model: EvaluableModel, *, seed: int) -> Estimate:
    """Train on shuffled labels of the train rows, and measure the main metric on the true test labels.

    It must be near that of the constant baseline; for a binary task an AUC of 0.5. Raises Refused for a model that was
    trained elsewhere, which cannot be trained again.
    """
    import numpy as np

    estimator, settings = training_set.model.estimator, trained_model.settings
    if (trained_file := find_trained_file(estimator)) is not None:
        raise Refused(
            f"{trained_file.name} was trained elsewhere, so it cannot be trained on shuffled labels",
            fix="run this control where the model was trained",
        )
    inputs = trained_model.spec.features
    shuffled_labels = np.random.default_rng(seed).permutation(training_set.labels[training_set.train_rows])
    model = estimator.fit(
        LabeledRows(training_set.matrix(inputs, training_set.train_rows), shuffled_labels),
        feature_columns(inputs),
        training_set.model.task.objective(training_set.classes),
        settings._replace(seed=seed),
    )
    raw = model.predict_rows(training_set.matrix(inputs, training_set.test_rows))
    return training_set.model.task.measure_raw(raw, training_set.labels[training_set.test_rows], seed=seed)


def feature_columns(inputs: Sequence[FeatureInput]) -> FeatureColumns:
    """Name the columns of the matrix of some features."""
    return FeatureColumns(
        tuple(joined_column_name(feature.view, feature.name) for feature in inputs),
        tuple(position for position, feature in enumerate(inputs) if feature.type == "string"),
    )


def _baseline_output(training_set: TrainingSet, trained_model: EvaluableModel, baseline: Baseline) -> Array:
    """Return the raw outputs of one baseline for the test rows."""
    import numpy as np

    task, classes = training_set.model.task, training_set.classes
    train_rows, test_rows = training_set.train_rows, training_set.test_rows
    if baseline.kind == "constant":
        return task.constant_output(training_set.labels[train_rows], len(test_rows), classes)
    inputs = training_set.inputs(training_set.find(baseline.features))
    if baseline.kind == "heuristic":
        values = training_set.matrix(inputs)[:, 0]
        return task.heuristic_output(values[test_rows], values[train_rows], inputs[0].categories, classes)
    train, test, columns = (
        training_set.matrix(inputs, train_rows),
        training_set.matrix(inputs, test_rows),
        feature_columns(inputs),
    )
    if baseline.entity is not None:
        # Tokens become numbers in memory only; no file and no MLflow run stores them.
        codes = training_set.codes(baseline.entity)
        train, test = np.column_stack([train, codes[train_rows]]), np.column_stack([test, codes[test_rows]])
        columns = FeatureColumns((*columns.names, "entity"), (*columns.categorical, len(columns.names)))
    estimator, settings = _baseline_estimator(training_set, trained_model)
    rows = LabeledRows(train, training_set.labels[train_rows])
    return estimator.fit(rows, columns, task.objective(classes), settings).predict_rows(test)


def _baseline_estimator(training_set: TrainingSet, trained_model: EvaluableModel) -> tuple[Estimator, FitSettings]:
    """Return the model's own estimator and settings, or LightGBM's defaults where it cannot fit other columns."""
    if training_set.model.estimator.fits_any_columns:
        return training_set.model.estimator, trained_model.settings
    return LightGBM(), FitSettings({}, STAND_IN_ROUNDS, trained_model.settings.seed)


def _is_unchanged(training_set: TrainingSet, feature_input: FeatureInput) -> bool:
    """Return whether a feature of the live model still exists with the type that it was trained with."""
    current = training_set.joined_features.get(f"{feature_input.view}:{feature_input.name}")
    return current is not None and current.feature.type == feature_input.type


def _find_training_end(training_set: TrainingSet) -> datetime:
    """Return the prediction time of the newest row that the model or its calibration learned from."""
    newest = from_epoch_micros(int(training_set.asked_at[training_set.train_rows].max()))
    trained_file = find_trained_file(training_set.model.estimator)
    return newest if trained_file is None else max(newest, trained_file.trained_until)


def find_training_end(report: EvaluationReport) -> int | None:
    """Return the prediction time of the newest train row, in microseconds."""
    if report.trained_until:
        return to_epoch_micros(datetime.fromisoformat(report.trained_until))
    # Older candidates do not record it, but the day on which their test window began.
    return to_epoch_micros(datetime.fromisoformat(report.since).replace(tzinfo=UTC)) - 1 if report.since else None


def _format_day(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).date().isoformat()


def _evaluate_subgroups(training_set: TrainingSet, scores: Array, decoder: Decoder) -> list[SubgroupMetrics]:
    import numpy as np

    labels = training_set.labels[training_set.test_rows]
    subgroup_metrics: list[SubgroupMetrics] = []
    for subgroup, feature_use in zip(
        training_set.model.subgroups,
        training_set.find([item.feature for item in training_set.model.subgroups]),
        strict=True,
    ):
        values = np.array(
            [
                _category_text(value)
                for value in training_set.rows.column(feature_use.column_name).take(training_set.test_rows).to_pylist()
            ]
        )
        names = sorted(set(values.tolist()))
        if feature_use.feature.type == "float64" or len(names) > MAX_SUBGROUPS:
            raise ProjectError(
                f"{feature_use.name} would make {len(names)} subgroups",
                fix="choose a feature with at most 50 values that is not an amount",
            )
        if any(TOKEN_PATTERN.fullmatch(item) for item in names):
            raise ProjectError(
                f"{feature_use.name} contains tokens; a subgroup cannot be defined on an identifier",
                fix="choose another feature",
            )
        for name in names:
            in_subgroup = values == name
            measured = training_set.model.task.measure_subgroup(scores[in_subgroup], labels[in_subgroup], decoder)
            enough_rows = measured.enough_rows and measured.rows >= subgroup.min_rows
            subgroup_metrics.append(
                measured.model_copy(update={"column": feature_use.name, "value": name, "enough_rows": enough_rows})
            )
    return subgroup_metrics


def _category_text(value: object) -> str:
    return "(none)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _time_reasons(trained_model: EvaluableModel, rows: Array) -> float:
    """Time the reasons of one prediction: the median of some rows, in microseconds; 0 without reasons.

    It is processor time, so that the load of other processes refuses no model.
    """
    durations: list[float] = []
    for row in rows[:40].tolist():
        started_at = time.process_time()
        if trained_model.model.explain_row(row, 0) is None:
            return 0.0
        durations.append(time.process_time() - started_at)
    return round(statistics.median(durations) * 1e6, 1)

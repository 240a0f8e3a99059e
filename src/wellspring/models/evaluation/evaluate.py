"""Evaluate a model on rows later than its train rows: metrics, baselines, subgroups, and the cost of reasons."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.errors import ProjectError
from wellspring.models.datasets.training_set import TrainingSet
from wellspring.models.estimators import lightgbm
from wellspring.models.estimators.search import Hyperparameters
from wellspring.models.evaluation import calibration, metrics
from wellspring.models.evaluation.gate import ChampionComparison
from wellspring.models.spec.artifact import FeatureInput, InferenceSpec, ModelArtifact
from wellspring.records.instants import from_epoch_micros, to_epoch_micros
from wellspring.records.models import Candidate, Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import format_instant
from wellspring.records.tokens import TOKEN_PATTERN

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TARGET_LEAKAGE_AUC = 0.97
"""A single feature with a higher AUC is reported as target leakage."""
MIN_ROWS = 200
"""With fewer rows the AUC of a single feature is not used."""
MAX_SUBGROUPS = 50
MIN_ROWS_PER_CLASS = 20
_MICROS_PER_DAY = 86_400_000_000


class EvaluableModel(Protocol):
    """A trained model and its hyperparameters."""

    @property
    def spec(self) -> InferenceSpec: ...
    @property
    def booster(self) -> lightgbm.Booster: ...
    @property
    def hyperparameters(self) -> Hyperparameters: ...


class EvaluationResult(NamedTuple):
    """The report of an evaluation. probabilities, labels: of the test rows, in their order."""

    report: EvaluationReport
    probabilities: Array
    labels: Array

    @property
    def positives(self) -> int:
        return int(self.labels.sum())


def evaluate_model(training_set: TrainingSet, trained_model: EvaluableModel) -> EvaluationResult:
    """Evaluate a model and its three baselines on the test rows of its training set."""
    spec, seed, criteria = trained_model.spec, trained_model.spec.seed, training_set.model.acceptance_criteria
    labels = training_set.labels[training_set.test_rows]
    test_features = training_set.matrix(spec.features, training_set.test_rows)
    probabilities = calibration.calibrate_scores(
        spec.calibration, lightgbm.predict_raw_scores(trained_model.booster, test_features)
    )
    flagged = probabilities >= float(spec.threshold)
    trees, leaves = lightgbm.count_trees_and_leaves(trained_model.booster)
    report = EvaluationReport(
        metrics={
            "auc": metrics.estimate_auc(probabilities, labels),
            "average_precision": metrics.estimate_average_precision(probabilities, labels, seed=seed),
            "brier": metrics.estimate_brier_score(probabilities, labels, seed=seed),
            "calibration_error": metrics.estimate_calibration_error(
                probabilities, labels, bins=criteria.calibration_bins
            ),
            "recall": metrics.wilson_interval(int((flagged & labels).sum()), int(labels.sum())),
            "precision": metrics.wilson_interval(int((flagged & labels).sum()), int(flagged.sum())),
        },
        baselines=evaluate_baselines(training_set, trained_model),
        subgroups=tuple(_evaluate_subgroups(training_set, probabilities, flagged)),
        train_rows=len(training_set.train_rows),
        test_rows=len(training_set.test_rows),
        trained_until=format_instant(from_epoch_micros(int(training_set.asked_at[training_set.train_rows].max()))),
        since=_format_day(training_set.split_at),
        until=_format_day(int(training_set.asked_at[training_set.test_rows].max()) + _MICROS_PER_DAY),
        reason_microseconds=_time_reasons(trained_model.booster, test_features),
        trees=trees,
        leaves=leaves,
    )
    return EvaluationResult(report, probabilities, labels)


def evaluate_baselines(training_set: TrainingSet, trained_model: EvaluableModel) -> dict[str, Estimate]:
    """Measure the AUC of three baselines on the same rows, with the same hyperparameters and rounds.

    columns: a model of the entity's own columns. columns_plus_entity: the same with the entity column as a category.
    heuristic: one feature as it is, without training.
    """
    import numpy as np

    baselines = training_set.model.baselines
    inputs_by_name = {
        f"{item.view}:{item.name}": item
        for item in training_set.inputs(training_set.find((*baselines.columns, baselines.heuristic)))
    }
    column_inputs = [inputs_by_name[column] for column in baselines.columns]
    train, test = (
        training_set.matrix(column_inputs, training_set.train_rows),
        training_set.matrix(column_inputs, training_set.test_rows),
    )
    names = [joined_column_name(column_input.view, column_input.name) for column_input in column_inputs]
    categorical_positions = [
        position for position, column_input in enumerate(column_inputs) if column_input.type == "string"
    ]
    # Tokens become numbers in memory only; no file and no MLflow run stores them.
    entity_codes = training_set.codes(baselines.entity_column)
    labels = training_set.labels[training_set.test_rows]

    def measure_baseline(
        train_features: Array, test_features: Array, feature_names: list[str], categorical: list[int]
    ) -> Estimate:
        booster = lightgbm.fit_booster(
            train_features,
            training_set.labels[training_set.train_rows],
            feature_names=feature_names,
            categorical=categorical,
            hyperparameters=trained_model.hyperparameters,
            rounds=trained_model.spec.rounds,
            seed=trained_model.spec.seed,
        )
        return metrics.estimate_auc(lightgbm.predict_raw_scores(booster, test_features), labels)

    heuristic_values = training_set.matrix([inputs_by_name[baselines.heuristic]])[:, 0]
    median_value = (
        float(np.nanmedian(heuristic_values[training_set.train_rows]))
        if np.isfinite(heuristic_values[training_set.train_rows]).any()
        else 0.0
    )
    return {
        "columns": measure_baseline(train, test, names, categorical_positions),
        "columns_plus_entity": measure_baseline(
            np.column_stack([train, entity_codes[training_set.train_rows]]),
            np.column_stack([test, entity_codes[training_set.test_rows]]),
            [*names, "entity"],
            [*categorical_positions, len(names)],
        ),
        "heuristic": metrics.estimate_auc(
            np.nan_to_num(heuristic_values[training_set.test_rows], nan=median_value), labels
        ),
    }


def compare_to_champion(
    training_set: TrainingSet, probabilities: Array, champion: Candidate, artifact: ModelArtifact
) -> ChampionComparison:
    """Compare a candidate with the live model on test rows that the live model was not trained on.

    champion: the candidate behind the live release; trained with another split, it may have seen rows of this window.
    """
    spec, criteria = artifact.spec, training_set.model.acceptance_criteria
    if changed_features := [
        f"{feature.view}.{feature.name}" for feature in spec.features if not _is_unchanged(training_set, feature)
    ]:
        return ChampionComparison(
            champion.id,
            None,
            f"it uses {', '.join(changed_features[:3])}, which was removed from the features or has another type now",
        )
    trained_until = _trained_until(champion.scores)
    if trained_until is None:
        return ChampionComparison(champion.id, None, "its candidate does not record the end of its train rows")
    unseen = training_set.asked_at[training_set.test_rows] > trained_until
    labels = training_set.labels[training_set.test_rows][unseen]
    class_counts = int(labels.sum()), int((~labels).sum())
    if not unseen.all() and (len(labels) < criteria.test_rows or min(class_counts) < criteria.test_positives):
        return ChampionComparison(
            champion.id, None, f"it was trained on rows of this window, and the {len(labels):,} other rows are too few"
        )
    features = training_set.matrix(spec.features, training_set.test_rows[unseen])
    champion_scores = lightgbm.predict_raw_scores(lightgbm.load_booster(artifact.booster_text), features)
    # Platt's curve rises only where a > 0, and then keeps the order of the scores.
    champion_scores = calibration.calibrate_scores(spec.calibration, champion_scores)
    return ChampionComparison(champion.id, metrics.delong_test(probabilities[unseen], champion_scores, labels))


def detect_target_leakage(training_set: TrainingSet, inputs: Sequence[FeatureInput]) -> dict[str, str]:
    """Find features that determine the label by their value or by being missing; return evidence by `view.feature`.

    Measured on the train rows, before training.
    """
    labels = training_set.labels[training_set.train_rows]
    train_features = training_set.matrix(inputs, training_set.train_rows)
    suspected_leaks: dict[str, str] = {}
    for position, feature_input in enumerate(inputs):
        value_auc, missingness_auc = (
            _single_feature_auc(train_features[:, position], labels, feature_input),
            _missingness_auc(train_features[:, position], labels),
        )
        if max(value_auc, missingness_auc) > TARGET_LEAKAGE_AUC:
            evidence = (
                f"AUC {value_auc:.3f} alone"
                if value_auc > TARGET_LEAKAGE_AUC
                else "whether it is missing determines the label"
            )
            suspected_leaks[f"{feature_input.view}.{feature_input.name}"] = evidence
    return suspected_leaks


def shuffled_label_control(training_set: TrainingSet, trained_model: EvaluableModel, *, seed: int) -> Estimate:
    """Train on shuffled labels of the train rows; the AUC on the true test labels must be near 0.5."""
    import numpy as np

    spec = trained_model.spec
    shuffled_labels = np.random.default_rng(seed).permutation(training_set.labels[training_set.train_rows])
    booster = lightgbm.fit_booster(
        training_set.matrix(spec.features, training_set.train_rows), shuffled_labels,
        feature_names=[joined_column_name(feature.view, feature.name) for feature in spec.features],
        categorical=[position for position, item in enumerate(spec.features) if item.type == "string"],
        hyperparameters=trained_model.hyperparameters, rounds=spec.rounds, seed=seed,
    )  # fmt: skip
    test_features = training_set.matrix(spec.features, training_set.test_rows)
    return metrics.estimate_auc(
        lightgbm.predict_raw_scores(booster, test_features), training_set.labels[training_set.test_rows]
    )


def _single_feature_auc(values: Array, labels: Array, feature_input: FeatureInput) -> float:
    """Measure the AUC of one feature alone, in either direction, on the rows that have a value."""
    import numpy as np

    present = np.isfinite(values)
    values, labels = values[present], labels[present]
    if feature_input.type == "string" and len(values):
        # Rates come from one half of the rows and are scored on the other, since rare categories would overfit.
        codes, first_half = values.astype(int), np.arange(len(values)) % 2 == 0
        counts = np.bincount(codes[first_half], minlength=codes.max() + 1)
        positives = np.bincount(codes[first_half], weights=labels[first_half].astype(float), minlength=codes.max() + 1)
        values, labels = ((positives + 0.5) / (counts + 1.0))[codes][~first_half], labels[~first_half]
    return _undirected_auc(values, labels)


def _missingness_auc(values: Array, labels: Array) -> float:
    import numpy as np

    return _undirected_auc(np.isnan(values).astype(float), labels)


def _undirected_auc(values: Array, labels: Array) -> float:
    if len(labels) < MIN_ROWS or labels.all() or not labels.any():
        return 0.5
    auc = metrics.compute_auc(values, labels)
    return max(auc, 1 - auc)


def _is_unchanged(training_set: TrainingSet, feature_input: FeatureInput) -> bool:
    """Return whether a feature of the live model still exists with the type that it was trained with."""
    current = training_set.joined_features.get(f"{feature_input.view}:{feature_input.name}")
    return current is not None and current.feature.type == feature_input.type


def _trained_until(report: EvaluationReport) -> int | None:
    """Return the prediction time of the newest train row, in microseconds."""
    if report.trained_until:
        return to_epoch_micros(datetime.fromisoformat(report.trained_until))
    # Older candidates do not record it, but the day on which their test window began.
    return to_epoch_micros(datetime.fromisoformat(report.since).replace(tzinfo=UTC)) - 1 if report.since else None


def _format_day(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).date().isoformat()


def _evaluate_subgroups(training_set: TrainingSet, probabilities: Array, flagged: Array) -> list[SubgroupMetrics]:
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
            positives, rows = int(labels[in_subgroup].sum()), int(in_subgroup.sum())
            enough_rows = rows >= subgroup.min_rows and min(positives, rows - positives) >= MIN_ROWS_PER_CLASS
            subgroup_metrics.append(
                SubgroupMetrics(
                    column=feature_use.name,
                    value=name,
                    rows=rows,
                    enough_rows=enough_rows,
                    auc=metrics.estimate_auc(probabilities[in_subgroup], labels[in_subgroup])
                    if 0 < positives < rows
                    else None,
                    calibration_gap=float(probabilities[in_subgroup].mean() - labels[in_subgroup].mean()),
                    positive_share=float(flagged[in_subgroup].mean()),
                )
            )
    return subgroup_metrics


def _category_text(value: object) -> str:
    return "(none)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _time_reasons(booster: lightgbm.Booster, rows: Array) -> float:
    """Time the reasons of one prediction: the median of some rows, in microseconds, on this machine."""
    durations: list[float] = []
    for row in rows[:40].tolist():
        started_at = time.perf_counter()
        lightgbm.compute_contributions(booster, row)
        durations.append(time.perf_counter() - started_at)
    return round(statistics.median(durations) * 1e6, 1)

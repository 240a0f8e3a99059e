"""Fit a model on a training set: search hyperparameters, calibrate, choose the threshold, and train on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wellspring.data.features.point_in_time import joined_column_name
from wellspring.errors import Refused
from wellspring.models.datasets.training_set import TrainingSet
from wellspring.models.estimators import lightgbm
from wellspring.models.estimators.search import Hyperparameters, search_hyperparameters
from wellspring.models.evaluation import calibration
from wellspring.models.spec.artifact import BOOSTER_FILE, SPEC_FILE, FeatureInput, InferenceSpec

TrainingProgress = Callable[[str, int, int], None]
VALIDATION_SHARE = 0.2
"""The newest share of the train rows: the validation rows of trials, calibration and threshold."""


class TrainedModel(NamedTuple):
    """A trained model and the hyperparameters that the search chose."""

    spec: InferenceSpec
    booster: lightgbm.Booster
    hyperparameters: Hyperparameters

    def encode_files(self) -> dict[str, bytes]:
        """Encode the two files of the artifact, by name."""
        return {BOOSTER_FILE: lightgbm.dump_booster(self.booster).encode(), SPEC_FILE: self.spec.encode()}


def fit_model(
    training_set: TrainingSet,
    inputs: tuple[FeatureInput, ...] | None = None,
    *,
    progress: TrainingProgress,
    hyperparameters: Hyperparameters | None = None,
) -> TrainedModel:
    """Search hyperparameters and train; with `hyperparameters`, skip the search. The result is the same bytes.

    Hyperparameters, rounds, calibration and threshold are chosen on the newest fifth of the train rows with models that
    were trained on the rest; the final model is trained on all train rows.
    """
    model, inputs = training_set.model, inputs or training_set.inputs()
    feature_names = [joined_column_name(feature.view, feature.name) for feature in inputs]
    categorical = [position for position, feature in enumerate(inputs) if feature.type == "string"]
    features, labels = (
        training_set.matrix(inputs, training_set.train_rows),
        training_set.labels[training_set.train_rows],
    )
    split_index = int(len(labels) * (1 - VALIDATION_SHARE))
    validation = (features[split_index:], labels[split_index:])
    if len(set(labels[:split_index].tolist())) < 2 or len(set(labels[split_index:].tolist())) < 2:
        raise Refused(
            f"{model.name} cannot be trained: the earlier or the later train rows contain only one class",
            fix="ingest more history",
        )
    if hyperparameters is None:
        hyperparameters = search_hyperparameters(
            features[:split_index],
            labels[:split_index],
            validation,
            feature_names=feature_names,
            categorical=categorical,
            search=model.search,
            progress=lambda done, total: progress("search", done, total),
        ).hyperparameters
    seed = model.search.seed
    early_booster = lightgbm.fit_booster(
        features[:split_index],
        labels[:split_index],
        feature_names=feature_names,
        categorical=categorical,
        hyperparameters=hyperparameters,
        rounds=model.search.rounds,
        seed=seed,
        validation=validation,
    )
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

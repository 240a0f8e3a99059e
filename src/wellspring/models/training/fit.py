"""Fit a model on a training set: tune the estimator, fit the decoder on later rows, and train on all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from wellspring.errors import Refused
from wellspring.models.datasets.training_set import TrainingSet
from wellspring.models.estimators.port import FitSettings, FittedModel, Hyperparameters, LabeledRows
from wellspring.models.evaluation.evaluate import feature_columns
from wellspring.models.spec.inference_spec import SPEC_FILE, FeatureInput, InferenceSpec
from wellspring.models.tasks.port import Decoder

TrainingProgress = Callable[[str, int, int], None]
VALIDATION_SHARE = 0.2
"""The newest share of the train rows: the validation rows of trials, calibration and decision rule."""


class TrainedModel(NamedTuple):
    """A trained model and the settings that tuning chose. curves: validation loss per iteration, by name.

    file_name: of the estimator's file.
    """

    spec: InferenceSpec
    file_name: str
    model: FittedModel
    decoder: Decoder
    settings: FitSettings
    curves: Mapping[str, Sequence[float]]

    def encode_files(self) -> dict[str, bytes]:
        """Encode the two files of the artifact, by name."""
        return {self.file_name: self.model.dump(), SPEC_FILE: self.spec.encode()}


def fit_model(
    training_set: TrainingSet,
    inputs: tuple[FeatureInput, ...] | None = None,
    *,
    progress: TrainingProgress,
    hyperparameters: Hyperparameters | None = None,
) -> TrainedModel:
    """Tune and train; with `hyperparameters`, skip the search. The result is the same bytes.

    Settings, calibration and decision rule are chosen on the newest fifth of the train rows with models that were
    trained on the rest; the final model is trained on all train rows.
    """
    definition, inputs = training_set.model, inputs or training_set.inputs()
    task, estimator, columns = definition.task, definition.estimator, feature_columns(inputs)
    rows = LabeledRows(
        training_set.matrix(inputs, training_set.train_rows), training_set.labels[training_set.train_rows]
    )
    split_index = int(len(rows.labels) * (1 - VALIDATION_SHARE))
    earlier, validation = rows.take_before(split_index), rows.take_from(split_index)
    for purpose, part in (("earlier", earlier), ("later", validation)):
        if (error := task.variety_error(part.labels)) is not None:
            raise Refused(
                f"{definition.name} cannot be trained: the {purpose} train rows {error}", fix="ingest more history"
            )
    objective = task.objective(training_set.classes)
    tuned = estimator.tune(
        earlier,
        validation,
        columns,
        objective,
        hyperparameters=hyperparameters,
        progress=lambda done, total: progress("search", done, total),
    )
    decoder = task.fit_decoder(tuned.model.predict_rows(validation.features), validation.labels, training_set.classes)
    progress("train", 0, 1)
    spec = InferenceSpec(
        model=definition.name,
        task=task.name,
        estimator=estimator.name,
        features=inputs,
        calibration=decoder.encode_calibration(),
        decision_rule=decoder.decision_rule,
        keys={feature.view.name: feature.view.keys for feature in training_set.features},
        seed=tuned.settings.seed,
        rounds=tuned.settings.rounds,
    )
    model = estimator.fit(rows, columns, objective, tuned.settings)
    return TrainedModel(spec, estimator.file_name, model, decoder, tuned.settings, tuned.curves)

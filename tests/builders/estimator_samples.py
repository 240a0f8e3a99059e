"""Small data sets for each estimator and each objective that it supports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.port import (
    Estimator,
    FeatureColumns,
    FitSettings,
    FittedModel,
    LabeledRows,
    Objective,
)
from wellspring.models.estimators.search import HyperparameterSearch
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline

COLUMNS = FeatureColumns(("amount", "view__kind", "rate"), (1,))


class EstimatorSample(NamedTuple):
    """An estimator, an objective that it supports, and rows to learn from. columns_out: of the raw output."""

    estimator: Estimator
    objective: Objective
    rows: LabeledRows
    columns: FeatureColumns
    settings: FitSettings

    @property
    def columns_out(self) -> int:
        return self.objective.classes if self.objective.kind == "multiclass" else 1

    def fit(self) -> FittedModel:
        return self.estimator.fit(self.rows, self.columns, self.objective, self.settings)


def estimator_samples(estimator: type[Estimator]) -> Iterator[EstimatorSample]:
    """Return a sample for each objective that an estimator supports."""
    for objective in (Objective("binary", 2), Objective("multiclass", 3), Objective("regression", 0)):
        value = _estimator_value(estimator, objective)
        settings = FitSettings({}, 0, value.seed)
        if estimator is LightGBM:
            settings = FitSettings({"num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 20}, 30, value.seed)
        if value.supports(objective.kind):
            yield EstimatorSample(value, objective, _labeled_rows(objective), COLUMNS, settings)


def linear_pipeline(kind: str) -> Any:
    """Build a scikit-learn pipeline with a linear last step."""
    return make_pipeline(SimpleImputer(), StandardScaler(), Ridge() if kind == "regression" else LogisticRegression())


def _estimator_value(estimator: type[Estimator], objective: Objective) -> Estimator:
    if estimator is LightGBM:
        return LightGBM(search=HyperparameterSearch(trials=2, rounds=40))
    if estimator is SklearnPipeline:
        return SklearnPipeline(pipeline=linear_pipeline(objective.kind))
    if estimator is Onnx:
        return Onnx(pipeline=linear_pipeline(objective.kind))
    return estimator()


def _labeled_rows(objective: Objective, rows: int = 1500) -> LabeledRows:
    rng = np.random.default_rng(8)
    features = np.column_stack([rng.normal(size=rows), rng.integers(0, 4, rows), rng.random(rows)])
    signal = features[:, 0] + (features[:, 1] == 3) + rng.normal(0, 0.3, rows)
    features[rng.random(rows) < 0.05, 0] = np.nan
    match objective.kind:
        case "binary":
            return LabeledRows(features, signal > 0.3)
        case "multiclass":
            return LabeledRows(features, np.digitize(signal, [-0.3, 0.8]))
        case "regression":
            return LabeledRows(features, signal * 10 + 5)

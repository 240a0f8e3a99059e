"""A linear model: ridge regression for numbers, logistic regression for two classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationError

from wellspring.stable import (
    CorruptedError,
    FeatureColumns,
    FitSettings,
    Frozen,
    Hyperparameters,
    LabeledRows,
    Objective,
    ObjectiveKind,
    TunedModel,
    TuningProgress,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NEWTON_STEPS = 25


class LinearTerm(Frozen):
    """The part of one feature: a weight per unit above `center`, or a weight per category. A missing value adds 0."""

    center: float = Field(allow_inf_nan=False)
    weight: float = Field(allow_inf_nan=False)
    category_weights: tuple[float, ...] = ()

    def contribution(self, value: float) -> float:
        if math.isnan(value):
            return 0.0
        if not self.category_weights:
            return self.weight * (value - self.center)
        return self.category_weights[int(value)] if 0 <= value < len(self.category_weights) else 0.0


class LinearModel(Frozen):
    """A fitted model; its file is its JSON."""

    intercept: float = Field(allow_inf_nan=False)
    terms: tuple[LinearTerm, ...]

    def predict_rows(self, rows: Array) -> Array:
        import numpy as np

        # Row by row: a matrix product would add in another order, and so give other bits than predict_row.
        return np.array([self.predict_row(row) for row in rows.tolist()], dtype=float).reshape(len(rows), 1)

    def predict_row(self, row: Sequence[float]) -> tuple[float, ...]:
        return (self.intercept + sum(self.explain_row(row, 0)),)

    def explain_row(self, row: Sequence[float], output: int) -> list[float]:
        return [term.contribution(value) for term, value in zip(self.terms, row, strict=True)]

    def importance(self) -> list[float] | None:
        return None

    def size(self) -> dict[str, int]:
        return {"terms": len(self.terms)}

    def dump(self) -> bytes:
        return self.model_dump_json().encode()


class Linear(Frozen):
    """A linear model in a model file. penalty: of large weights (ridge), as a number of rows."""

    name: ClassVar[str] = "linear"
    file_name: ClassVar[str] = "model.linear"
    attribution: ClassVar[str] = "weight times distance from the mean, or the weight of the category: exact"
    fits_any_columns: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()

    penalty: float = Field(default=1.0, gt=0)

    @property
    def seed(self) -> int:
        return 0  # nothing is random

    def supports(self, objective: ObjectiveKind) -> bool:
        return objective in ("binary", "regression")

    def tune(
        self,
        train: LabeledRows,
        validation: LabeledRows,
        columns: FeatureColumns,
        objective: Objective,
        *,
        hyperparameters: Hyperparameters | None,
        progress: TuningProgress,
    ) -> TunedModel:
        settings = FitSettings(hyperparameters or {"penalty": self.penalty}, rounds=0, seed=self.seed)
        progress(1, 1)
        return TunedModel(settings, self.fit(train, columns, objective, settings), curves={})

    def fit(
        self, rows: LabeledRows, columns: FeatureColumns, objective: Objective, settings: FitSettings
    ) -> LinearModel:
        import numpy as np

        blocks, centers = [np.ones((len(rows.labels), 1))], []
        for position, values in enumerate(rows.features.T):
            present = np.isfinite(values)
            if position in columns.categorical:
                categories = int(values[present].max()) + 1 if present.any() else 1
                blocks.append((values[:, None] == np.arange(categories)).astype(float))
                centers.append(0.0)
            else:
                centers.append(float(values[present].mean()) if present.any() else 0.0)
                blocks.append(np.where(present, values - centers[-1], 0.0)[:, None])
        penalty = float(settings.hyperparameters.get("penalty", self.penalty))
        weights = _solve_weights(np.hstack(blocks), rows.labels.astype(float), objective.kind, penalty).tolist()
        terms, start = [], 1
        for block, center in zip(blocks[1:], centers, strict=True):
            own, start = weights[start : start + block.shape[1]], start + block.shape[1]
            is_categorical = len(terms) in columns.categorical
            terms.append(LinearTerm(center=center, weight=own[0], category_weights=tuple(own) * is_categorical))
        return LinearModel(intercept=weights[0], terms=tuple(terms))

    @classmethod
    def load_model(cls, content: bytes) -> LinearModel:
        try:
            return LinearModel.model_validate_json(content)
        except ValidationError:
            raise CorruptedError("the file is not a linear model", fix="train the model again") from None


def _solve_weights(design: Array, labels: Array, kind: ObjectiveKind, penalty: float) -> Array:
    """Solve ridge regression directly, and logistic regression by Newton's method. The intercept has no penalty."""
    import numpy as np

    ridge = np.diag([1e-9, *[penalty] * (design.shape[1] - 1)])
    if kind == "regression":
        return np.linalg.solve(design.T @ design + ridge, design.T @ labels)
    weights = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        spread = np.maximum(probabilities * (1 - probabilities), 1e-9)
        hessian = (design * spread[:, None]).T @ design + ridge
        weights = weights + np.linalg.solve(hessian, design.T @ (labels - probabilities) - ridge @ weights)
    return weights

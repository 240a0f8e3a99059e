"""The estimator of scikit-learn pipelines: a team's own steps, written with skops. No pickle is written or read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from wellspring.errors import CorruptedError
from wellspring.models.estimators.port import (
    FeatureColumns,
    FitSettings,
    Hyperparameters,
    LabeledRows,
    Objective,
    ObjectiveKind,
    TunedModel,
    TuningProgress,
)
from wellspring.models.estimators.sklearn.linear import find_last_step, open_column_steps, open_linear_step
from wellspring.models.estimators.sklearn.pipeline import (
    FittedPipeline,
    build_pipeline,
    fit_pipeline,
    parse_fitted,
    supports_objective,
)
from wellspring.models.estimators.sklearn.pipeline_value import PipelineValue
from wellspring.models.estimators.sklearn.skops_file import dump_fitted, load_fitted
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

OneHotSetting = Literal["all"] | tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:[a-z][a-z0-9_]*$")], ...]
"""The categories with one column per value, by `view:feature`; the others stay codes, with NaN for a missing one."""


class SklearnPipeline(Frozen):
    """A scikit-learn pipeline in a model file. The last step is a classifier or a regressor, as the task needs.

    one_hot: which categories get one column per value. seed: for every step that has no random_state of its own.
    """

    name: ClassVar[str] = "sklearn"
    file_name: ClassVar[str] = "model.skops"
    attribution: ClassVar[str] = (
        "Coefficient times value, summed per feature, if the last step is linear and no step combines features; "
        "otherwise none"
    )
    fits_any_columns: ClassVar[bool] = True
    # scikit-learn looks up pandas among the imported modules, where a blocked package would be None.
    packages: ClassVar[tuple[str, ...]] = ("skops", "sklearn", "pandas")

    pipeline: PipelineValue
    one_hot: OneHotSetting = "all"
    seed: int = Field(default=7, ge=0, lt=2**31)

    def supports(self, objective: ObjectiveKind) -> bool:
        """Return whether the last step of the pipeline can learn an objective."""
        return supports_objective(self.pipeline, objective)

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
        """Fit on the earlier rows; the settings are those of the pipeline."""
        del validation, hyperparameters, progress
        settings = FitSettings({}, 0, self.seed)
        return TunedModel(settings, self.fit(train, columns, objective, settings), {})

    def fit(
        self, rows: LabeledRows, columns: FeatureColumns, objective: Objective, settings: FitSettings
    ) -> SklearnModel:
        """Fit a copy of the pipeline. Raises Refused for a type that would not be read again, before and after it."""
        unfitted = build_pipeline(self.pipeline, self.one_hot, columns, objective, seed=settings.seed)
        dump_fitted(unfitted.describe())
        fitted = fit_pipeline(unfitted, rows)
        return self.load_model(dump_fitted(fitted.describe()))

    @classmethod
    def load_model(cls, content: bytes) -> SklearnModel:
        """Read a file of skops. Raises CorruptedError for any other type than the listed ones."""
        return SklearnModel(parse_fitted(load_fitted(content)), content)


class SklearnModel:
    """A fitted pipeline in memory."""

    def __init__(self, fitted: FittedPipeline, content: bytes) -> None:
        try:
            features = int(fitted.pipeline.steps[0][1].n_features_in_)
            column_steps = open_column_steps(fitted.pipeline)
            linear = None if column_steps is None else open_linear_step(fitted.pipeline, column_steps, features)
        except (AttributeError, IndexError, TypeError, ValueError):
            raise CorruptedError("model.skops holds an unfitted pipeline", fix="train the model again") from None
        last = fitted.pipeline if column_steps is None else find_last_step(fitted.pipeline)
        self._column_steps = column_steps
        self._last = fitted._replace(pipeline=last)
        self._linear = linear
        self._content = content

    def predict_rows(self, rows: Array) -> Array:
        """Return the raw outputs. A step that combines columns runs row by row, so that a row has the same bits."""
        import numpy as np

        columns = self._transform(rows)
        if self._linear is not None:
            raw = self._linear.predict_raw(columns)
            return self._last.spread_classes(raw) if self._last.kind == "multiclass" else raw
        if not len(columns):
            return np.empty((0, self._last.classes if self._last.kind == "multiclass" else 1))
        return np.vstack([self._last.predict_raw(columns[position : position + 1]) for position in range(len(columns))])

    def predict_row(self, row: Sequence[float]) -> tuple[float, ...]:
        """Return the raw output of one row."""
        import numpy as np

        return tuple(self.predict_rows(np.array([row], dtype=float))[0].tolist())

    def explain_row(self, row: Sequence[float], output: int) -> list[float] | None:
        """Return coefficient times value, summed per feature; None unless the last step is linear."""
        import numpy as np

        every_class = self._last.kind != "multiclass" or len(self._last.pipeline.classes_) == self._last.classes
        if self._linear is None or not every_class:
            return None
        return self._linear.explain_columns(self._transform(np.array([row], dtype=float))[0], output)

    def _transform(self, rows: Array) -> Array:
        """Run the steps before the last one, if all of them treat each column by itself."""
        import numpy as np

        rows = np.ascontiguousarray(rows, dtype=float)
        if self._column_steps is None:
            return rows
        return np.ascontiguousarray(self._column_steps.transform(rows), dtype=float)

    def importance(self) -> list[float] | None:
        """Return None: scikit-learn has no measure that all pipelines share."""
        return None

    def size(self) -> dict[str, int]:
        """Return the size of the file."""
        return {"bytes": len(self._content)}

    def dump(self) -> bytes:
        """Return the file of skops."""
        return self._content

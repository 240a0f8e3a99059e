"""The estimator of ONNX models: a scikit-learn pipeline that is trained here and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from wellspring.models.estimators.onnx.export import export_pipeline
from wellspring.models.estimators.onnx.session import OnnxModel
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
from wellspring.models.estimators.sklearn.estimator import OneHotSetting, PipelineValue
from wellspring.models.estimators.sklearn.pipeline import build_pipeline, fit_pipeline, supports_objective
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Onnx(Frozen):
    """An ONNX model in a model file. pipeline: fitted here and exported; one_hot and seed as in SklearnPipeline."""

    name: ClassVar[str] = "onnx"
    file_name: ClassVar[str] = "model.onnx"
    attribution: ClassVar[str] = "An ONNX model has none: its predictions come without reasons"
    fits_any_columns: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

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

    def fit(self, rows: LabeledRows, columns: FeatureColumns, objective: Objective, settings: FitSettings) -> OnnxModel:
        """Fit and export. Raises Refused if the graph differs from the pipeline on these rows."""
        # skl2onnx does not convert the column that rare categories share.
        unfitted = build_pipeline(
            self.pipeline, self.one_hot, columns, objective, seed=settings.seed, max_categories=None
        )
        return export_pipeline(fit_pipeline(unfitted, rows), rows.features)

    @classmethod
    def load_model(cls, content: bytes) -> OnnxModel:
        """Read an ONNX file. Raises CorruptedError for a file that may not run."""
        return OnnxModel(content)

"""The estimator of ONNX models: a scikit-learn pipeline that is trained here, or a file that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from wellspring.errors import ProjectError
from wellspring.models.estimators.onnx.export import export_pipeline
from wellspring.models.estimators.onnx.session import OnnxModel
from wellspring.models.estimators.onnx.trained_file import import_graph
from wellspring.models.estimators.port import (
    FeatureColumns,
    FitSettings,
    Hyperparameters,
    LabeledRows,
    Objective,
    ObjectiveKind,
    TrainedFile,
    TunedModel,
    TuningProgress,
)
from wellspring.models.estimators.sklearn.estimator import OneHotSetting
from wellspring.models.estimators.sklearn.pipeline import build_pipeline, fit_pipeline, supports_objective
from wellspring.models.estimators.sklearn.pipeline_value import PipelineValue
from wellspring.records.record import Frozen, Instant

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Onnx(Frozen):
    """An ONNX model in a model file: give `pipeline`, or `file` and `trained_until`.

    pipeline: fitted here and exported; one_hot and seed as in SklearnPipeline. file: NAME.onnx beside NAME.py, trained
    elsewhere; each row that it learned from is earlier than trained_until (UTC). output: its name in the file, if there
    are several. scale: of the output of a classifier. content: of the file, once it is read.
    """

    name: ClassVar[str] = "onnx"
    file_name: ClassVar[str] = "model.onnx"
    attribution: ClassVar[str] = "An ONNX model has none: its predictions come without reasons"
    fits_any_columns: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    pipeline: PipelineValue | None = None
    one_hot: OneHotSetting = "all"
    seed: int = Field(default=7, ge=0, lt=2**31)
    file: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}\.onnx$")] | None = None
    trained_until: Instant | None = None
    output: str | None = None
    scale: Literal["probabilities", "logits"] = "probabilities"
    content: bytes = Field(default=b"", repr=False, exclude=True)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.pipeline is None) == (self.file is None):
            raise ValueError("give either pipeline=... or file=...")
        if (self.file is None) != (self.trained_until is None):
            raise ValueError(
                "give trained_until=... with file=...: the end of the rows that the model learned from, as "
                "datetime(2026, 5, 1, tzinfo=UTC)"
            )
        return self

    @property
    def trained_file(self) -> TrainedFile | None:
        """Return the file that was trained elsewhere; None for a pipeline."""
        if self.file is None or self.trained_until is None:
            return None
        return TrainedFile(self.file, self.trained_until)

    def open_file(self, folder: Path) -> Self:
        """Return the estimator with the content of its file."""
        if self.file is None:
            return self
        path = folder / self.file
        if path.is_symlink() or not path.is_file():
            raise ProjectError(f"{path} is missing, or a link", fix="copy the ONNX file there, beside the model file")
        return self.model_copy(update={"content": path.read_bytes()})

    def supports(self, objective: ObjectiveKind) -> bool:
        """Return whether the last step of the pipeline can learn an objective; a file is checked when it is used."""
        return self.file is not None or supports_objective(self.pipeline, objective)

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
        """Fit and export; or check a file that was trained elsewhere. Raises Refused if it cannot be used.

        Of a file, only the output on some rows is checked, and nothing is fitted.
        """
        if self.file is not None:
            return import_graph(
                self.content, self.file, columns, objective, rows.features, output=self.output, scale=self.scale
            )
        # skl2onnx does not convert the column that rare categories share.
        unfitted = build_pipeline(
            self.pipeline, self.one_hot, columns, objective, seed=settings.seed, max_categories=None
        )
        return export_pipeline(fit_pipeline(unfitted, rows), rows.features)

    @classmethod
    def load_model(cls, content: bytes) -> OnnxModel:
        """Read an ONNX file. Raises CorruptedError for a file that may not run."""
        return OnnxModel(content)

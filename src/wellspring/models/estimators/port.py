"""The port of an estimator: fit, predict raw outputs, and write and read its single file.

A raw output has one column, or one per class. binary: log odds. multiclass: one unnormalized log probability per class.
regression: the value. An estimator is a frozen value in a model file (`estimator=LightGBM(...)`); its class is found
again by its name, which `model.json` holds. Suite: tests/ports/test_estimator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ObjectiveKind = Literal["binary", "multiclass", "regression"]
Hyperparameters = dict[str, int | float]
TuningProgress = Callable[[int, int], None]
MODEL_FILE_PATTERN = r"model\.(?!(?:json|pkl|pickle|joblib|dill)$)[a-z0-9_]+"
"""A name of an estimator's file: never one of a pickle, which runs code when it is read. `model.json` is beside it."""


class Objective(NamedTuple):
    """What an estimator learns to output. classes: the number of classes; 2 for binary, 0 for regression."""

    kind: ObjectiveKind
    classes: int


class FeatureColumns(NamedTuple):
    """The columns of a feature matrix. categorical: positions of columns that hold category codes."""

    names: tuple[str, ...]
    categorical: tuple[int, ...]


class LabeledRows(NamedTuple):
    """Encoded rows in time order, with their labels: bool for binary, class numbers for multiclass, or values."""

    features: Array
    labels: Array

    def take_before(self, position: int) -> LabeledRows:
        """Return the rows before a position."""
        return LabeledRows(self.features[:position], self.labels[:position])

    def take_from(self, position: int) -> LabeledRows:
        """Return the rows from a position on."""
        return LabeledRows(self.features[position:], self.labels[position:])


class FitSettings(NamedTuple):
    """What a fit needs besides rows, so that it can be repeated. rounds: 0 if the estimator has none."""

    hyperparameters: Hyperparameters
    rounds: int
    seed: int


class FittedModel(Protocol):
    """A fitted model in memory. Thread-safe."""

    def predict_rows(self, rows: Array) -> Array:
        """Return the raw outputs: one line per row, one column, or one per class."""
        ...

    def predict_row(self, row: Sequence[float]) -> tuple[float, ...]:
        """Return the raw output of one row; bit for bit equal to `predict_rows` of it."""
        ...

    def explain_row(self, row: Sequence[float], output: int) -> list[float] | None:
        """Return the contribution of each feature to one column of the raw output; None without any."""
        ...

    def importance(self) -> list[float] | None:
        """Return the importance of each feature; None if the estimator does not measure it."""
        ...

    def size(self) -> dict[str, int]:
        """Return size figures by name, such as `trees`; acceptance criteria can limit them."""
        ...

    def dump(self) -> bytes:
        """Return the content of its file; the same model gives the same bytes."""
        ...


class TunedModel(NamedTuple):
    """The result of tuning. model: fitted on the earlier rows only. curves: values per iteration by metric name."""

    settings: FitSettings
    model: FittedModel
    curves: Mapping[str, Sequence[float]]


class TrainedFile(NamedTuple):
    """A model that was trained elsewhere. name: of its file, in the folder of the model file.

    trained_until: each row that it learned from is earlier, as the model file states; nothing here can verify that.
    """

    name: str
    trained_until: datetime


@runtime_checkable
class Estimator(Protocol):
    """Settings of an estimator in a model file.

    name: by which it is registered. file_name: of its file in the artifact; `model.` and a suffix that no other
    estimator has. attribution: a sentence for users: what its contributions are, or that it has none.
    fits_any_columns: whether `fit` accepts other columns than those that it was written for; if not, LightGBM fits the
    baselines. packages: top-level packages that `load_model` imports, directly or not; a process that serves blocks
    heavy ones until a model needs them. seed: of everything random in it, recorded with the model, so that a run can be
    repeated.
    """

    name: ClassVar[str]
    file_name: ClassVar[str]
    attribution: ClassVar[str]
    fits_any_columns: ClassVar[bool]
    packages: ClassVar[tuple[str, ...]]

    @property
    def seed(self) -> int: ...

    def supports(self, objective: ObjectiveKind) -> bool:
        """Return whether it can learn an objective."""
        ...

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
        """Choose the settings on validation rows, which are later than the train rows.

        hyperparameters: the result of an earlier search, which is then skipped. progress: trials done and in all.
        """
        ...

    def fit(
        self, rows: LabeledRows, columns: FeatureColumns, objective: Objective, settings: FitSettings
    ) -> FittedModel:
        """Fit; the same rows and settings give the same bytes."""
        ...

    @classmethod
    def load_model(cls, content: bytes) -> FittedModel:
        """Read the content of its file. Raises CorruptedError, and Unavailable without its package."""
        ...


@runtime_checkable
class FileEstimator(Protocol):
    """The optional part of an estimator that can use a model which was trained elsewhere."""

    @property
    def trained_file(self) -> TrainedFile | None:
        """Return the file; None if `fit` trains the model."""
        ...

    def open_file(self, folder: Path) -> Self:
        """Return the estimator with the content of its file. Raises ProjectError if the file is missing."""
        ...


def find_trained_file(estimator: Estimator) -> TrainedFile | None:
    """Return the file of a model that was trained elsewhere; None if the estimator trains it."""
    return estimator.trained_file if isinstance(estimator, FileEstimator) else None

"""The port of a task: what a model predicts, how that is measured, and what the gate requires.

A task is a frozen value in a model file (`task=Binary(...)`); its class is found again by its name, which `model.json`
and each release hold. Scores are calibrated outputs: binary: the probability of the second label per row; multiclass:
one probability per row and class; regression: the value per row. Suite: tests/ports/test_task.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from pydantic import Field, JsonValue, field_validator

from wellspring.models.estimators.port import Objective, ObjectiveKind
from wellspring.models.metrics.intervals import PairedComparison
from wellspring.records.decisions import DecisionRule
from wellspring.records.models import Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import Frozen
from wellspring.records.verdict import Reason, VerdictOutcome

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]


class AcceptanceCriteria(Frozen):
    """The limits that every task has; each task adds its own.

    margin: how much worse than the live model a candidate may be, in the task's main metric. size: the largest value of
    an estimator's size figures (LightGBM: trees, leaves); a figure that is not given keeps its default.
    reason_microseconds: for the reasons of one prediction.
    """

    margin: float = Field(default=0.01, ge=0)
    test_rows: int = Field(default=1000, ge=1)
    size: dict[str, int] = {}
    reason_microseconds: float = Field(default=20_000, gt=0)

    @field_validator("size")
    @classmethod
    def _keep_other_limits(cls, size: dict[str, int]) -> dict[str, int]:
        return {**cls.model_fields["size"].default, **size}


class GateFinding(NamedTuple):
    """One reason and its effect on the verdict; 'pass' for information only."""

    outcome: VerdictOutcome
    reason: Reason


class TaskLabels(NamedTuple):
    """Encoded labels of all rows. classes: the names of the classes by number; empty for a regression."""

    values: Array
    classes: tuple[str, ...]


class DecodedOutput(NamedTuple):
    """What a prediction reports for one raw output.

    explained_output: the column of the raw output whose contributions are the reasons. interval: low and high.
    probabilities: label and probability, the most likely first, at most MAX_PROBABILITIES.
    """

    score: float
    decision: str
    explained_output: int = 0
    interval: tuple[float, float] | None = None
    probabilities: tuple[tuple[str, float], ...] | None = None


class Decoder(Protocol):
    """Turn raw outputs into scores and decisions; fitted on validation rows, stored in `model.json`."""

    @property
    def decision_rule(self) -> DecisionRule: ...

    def encode_calibration(self) -> dict[str, JsonValue]:
        """Return the calibration as JSON without floats; `Task.load_decoder` reads it."""
        ...

    def calibrate_rows(self, raw: Array) -> Array:
        """Return the scores of many raw outputs."""
        ...

    def decode_row(self, raw: Sequence[float]) -> DecodedOutput:
        """Decode one raw output; the same bits in every process of one machine."""
        ...


class TaskLabeling(Protocol):
    """The part of a task that reads labels and fits its decoder."""

    def label_type_error(self, label_type: pa.DataType) -> str | None:
        """Return what is wrong with the type of a label column, such as "a label must be a bool"; None if it fits."""
        ...

    def encode_labels(self, values: pa.ChunkedArray, used_rows: Array) -> TaskLabels:
        """Encode labels; only those of used_rows must be valid. Raises ValueError with the sentence for the user."""
        ...

    def variety_error(self, labels: Array) -> str | None:
        """Return why some rows cannot train or test a model ("contain only one class"); None if they can."""
        ...

    def objective(self, classes: Sequence[str]) -> Objective: ...

    def fit_decoder(self, raw: Array, labels: Array, classes: Sequence[str]) -> Decoder:
        """Fit calibration and decision rule on rows that the model was not trained on."""
        ...

    @classmethod
    def load_decoder(cls, calibration: Mapping[str, JsonValue], decision_rule: DecisionRule) -> Decoder:
        """Read a decoder. Raises ValueError (ValidationError) when calibration and rule are not those of this task."""
        ...


class TaskMeasurement(Protocol):
    """The part of a task that measures models on test rows. classes: as in TaskLabels."""

    def measure(self, scores: Array, labels: Array, decoder: Decoder, *, seed: int) -> dict[str, Estimate]:
        """Measure all metrics, the main metric among them."""
        ...

    def measure_raw(self, raw: Array, labels: Array, *, seed: int) -> Estimate:
        """Measure the main metric of raw outputs without calibration: of baselines, and of shuffled labels."""
        ...

    def measure_subgroup(self, scores: Array, labels: Array, decoder: Decoder) -> SubgroupMetrics:
        """Measure one subgroup; the caller fills in its column, value and `enough_rows` by its size."""
        ...

    def constant_output(self, train_labels: Array, rows: int, classes: Sequence[str]) -> Array:
        """Return the raw output of the constant baseline."""
        ...

    def heuristic_output(
        self, values: Array, train_values: Array, categories: Sequence[str], classes: Sequence[str]
    ) -> Array:
        """Return the raw output that one feature is by itself. values, train_values: of the rows, NaN if missing."""
        ...

    def compare_scores(
        self,
        scores: Array,
        decoder: Decoder,
        champion_scores: Array,
        champion_decoder: Decoder,
        labels: Array,
        classes: Sequence[str],
        *,
        seed: int,
    ) -> PairedComparison:
        """Compare the main metric of a candidate with that of the live model, on the same rows."""
        ...

    def find_target_leak(self, values: Array, labels: Array, *, categorical: bool) -> str | None:
        """Return the evidence that one feature determines the label by itself; None if it does not."""
        ...

    def draw_plots(self, scores: Array, labels: Array, decoder: Decoder) -> dict[str, str]:
        """Draw SVG plots by name."""
        ...


class TaskCriteria(Protocol):
    """The part of a task that states its criteria to the gate, and its decision to readers."""

    @property
    def acceptance(self) -> AcceptanceCriteria: ...

    def find_missing_classes(self, class_rows: Mapping[str, int]) -> list[GateFinding]:
        """Find classes of which there are too few test rows. class_rows: rows by class; empty without classes."""
        ...

    def check_metrics(self, report: EvaluationReport) -> list[GateFinding]:
        """Check the metrics that are present against the criteria."""
        ...

    def check_subgroup(self, subgroup: SubgroupMetrics) -> list[GateFinding]:
        """Check a subgroup that has enough rows."""
        ...

    def describe_rule(self, rule: DecisionRule) -> str:
        """Describe a decision rule in a sentence of Markdown."""
        ...


@runtime_checkable
class Task(TaskLabeling, TaskMeasurement, TaskCriteria, Protocol):
    """A task. main_metric: of baselines and comparisons. required_metrics: without them the gate does not pass.

    comparison_title: what `compare_scores` measures; more is better. titles: of metrics and subgroup figures by name,
    where they differ from the name.
    """

    name: ClassVar[str]
    objective_kind: ClassVar[ObjectiveKind]
    main_metric: ClassVar[str]
    comparison_title: ClassVar[str]
    higher_is_better: ClassVar[bool]
    required_metrics: ClassVar[tuple[str, ...]]
    subgroup_figures: ClassVar[tuple[str, ...]]
    titles: ClassVar[Mapping[str, str]]


def title_of(task: type[Task] | Task, metric: str) -> str:
    """Return the title of a metric."""
    return task.titles.get(metric, metric.replace("_", " "))


def count_class_rows(labels: Array, classes: Sequence[str]) -> dict[str, int]:
    """Count the rows of each class; empty without classes."""
    import numpy as np

    counts = np.bincount(labels.astype(int), minlength=len(classes)) if classes else []
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def inconclusive_finding(code: str, message: str, count: int | None = None) -> GateFinding:
    """Build a finding of missing evidence."""
    return GateFinding("inconclusive", Reason(code=code, message=message, count=count))


def failed_finding(code: str, message: str, *, column: str | None = None, count: int | None = None) -> GateFinding:
    """Build a finding of a criterion that is not met."""
    return GateFinding("fail", Reason(code=code, message=message, column=column, count=count))

"""Samples of data for each task: raw outputs that a fair model would give, with labels, and a fitted decoder."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tests.builders.plugins import find_suite_builders
from wellspring.models.tasks.binary import Binary, BinaryCriteria
from wellspring.models.tasks.multiclass import Multiclass
from wellspring.models.tasks.port import Decoder, Task
from wellspring.models.tasks.regression import Regression
from wellspring.models.tasks.threshold import Threshold
from wellspring.records.decisions import DecisionRule, MostLikelyRule, ThresholdRule

ROWS = 3000


class TaskSample(NamedTuple):
    """A task with raw outputs and labels.

    other_type: a type that its label cannot have. heuristic_values, heuristic_categories: of the column of a heuristic
    baseline on the same rows, as category codes and names. foreign_rule: a decision rule that this task does not have.
    """

    task: Task
    label_type: pa.DataType
    other_type: pa.DataType
    label_values: list[Any]
    raw: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    decoder: Decoder
    heuristic_values: np.ndarray
    heuristic_categories: tuple[str, ...]
    foreign_rule: DecisionRule


def task_sample(task: type[Task]) -> TaskSample:
    """Return the sample for a registered task: that of its name, or the data of its objective with a default task."""
    samples = {"binary": _binary_sample, "multiclass": _multiclass_sample, "regression": _regression_sample}
    samples |= find_suite_builders("tasks")
    if task.name in samples:
        return samples[task.name]()
    sample, own_task = samples[task.objective_kind](), task()
    return sample._replace(task=own_task, decoder=own_task.fit_decoder(sample.raw, sample.labels, sample.classes))


def _binary_sample() -> TaskSample:
    rng = np.random.default_rng(11)
    raw = rng.normal(0, 2, (ROWS, 1))
    labels = rng.random(ROWS) < 1 / (1 + np.exp(-raw[:, 0]))
    task = Binary(
        labels=("no", "yes"), threshold=Threshold(recall="0.80"), acceptance=BinaryCriteria(calibration_error=0.05)
    )
    return TaskSample(
        task, pa.bool_(), pa.string(), labels.tolist(), raw, labels, ("no", "yes"),
        task.fit_decoder(raw, labels, ("no", "yes")), raw[:, 0] + rng.normal(size=ROWS), (),
        MostLikelyRule(labels=("no", "yes")),
    )  # fmt: skip


def _multiclass_sample() -> TaskSample:
    rng = np.random.default_rng(12)
    classes = tuple(f"c{number:02}" for number in range(24))
    raw = rng.normal(0, 4, (ROWS, len(classes)))
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(len(classes), p=share) for share in shares])
    task = Multiclass()
    return TaskSample(
        task, pa.string(), pa.int64(), [classes[number] for number in labels], raw, labels, classes,
        task.fit_decoder(raw, labels, classes), labels.astype(float), classes,
        ThresholdRule(labels=("no", "yes"), threshold="0.5"),
    )  # fmt: skip


def _regression_sample() -> TaskSample:
    rng = np.random.default_rng(13)
    raw = rng.normal(20, 5, (ROWS, 1))
    labels = raw[:, 0] + rng.normal(0, 2, ROWS)
    task = Regression(labels=("short", "long"), threshold="20")
    return TaskSample(
        task, pa.float64(), pa.string(), labels.tolist(), raw, labels, (), task.fit_decoder(raw, labels, ()),
        raw[:, 0] + rng.normal(size=ROWS), (), MostLikelyRule(labels=("short", "long")),
    )  # fmt: skip

"""Metrics of a classifier of several classes. Pure functions.

labels, decided: class numbers. probabilities: one row per row, one column per class.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wellspring.models.metrics import binary
from wellspring.models.metrics.intervals import bootstrap_estimate
from wellspring.records.models import Estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MIN_PROBABILITY = 1e-15
TEMPERATURES = (0.05, 20.0)
"""The limits of the temperature."""


def compute_macro_f1(decided: Array, labels: Array, weights: Array, *, classes: int) -> float:
    """Measure the mean F1 over the classes that occur among the labels. weights: of the rows."""
    import numpy as np

    hits = decided == labels
    true_positives = np.bincount(labels[hits], weights=weights[hits], minlength=classes)
    actual = np.bincount(labels, weights=weights, minlength=classes)
    predicted = np.bincount(decided, weights=weights, minlength=classes)
    present = actual > 0
    return (
        float((2 * true_positives[present] / (actual[present] + predicted[present])).mean()) if present.any() else 0.0
    )


def estimate_macro_f1(decided: Array, labels: Array, *, classes: int, seed: int) -> Estimate:
    """Measure the macro F1; bootstrap interval."""
    return bootstrap_estimate(
        lambda weights: compute_macro_f1(decided, labels, weights, classes=classes), len(labels), seed
    )


def estimate_log_loss(probabilities: Array, labels: Array, *, seed: int) -> Estimate:
    """Measure the mean negative log of the probability of the true class; bootstrap interval."""
    import numpy as np

    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], MIN_PROBABILITY))
    return bootstrap_estimate(lambda weights: float((weights * losses).sum() / weights.sum()), len(labels), seed)


def estimate_macro_auc(probabilities: Array, labels: Array) -> Estimate:
    """Measure the mean AUC of each class against the others; the interval is the mean of DeLong's intervals."""
    estimates: list[Estimate] = []
    for number in range(probabilities.shape[1]):
        positives = labels == number
        if positives.any() and not positives.all():
            estimates.append(binary.estimate_auc(probabilities[:, number], positives))
    count = max(1, len(estimates))
    return Estimate(
        value=sum(estimate.value for estimate in estimates) / count,
        low=sum(estimate.low for estimate in estimates) / count,
        high=sum(estimate.high for estimate in estimates) / count,
        rows=len(labels),
    )


def softmax_rows(raw: Array, temperature: float) -> Array:
    """Turn raw outputs into probabilities."""
    import numpy as np

    scaled = raw / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def softmax_row(raw: tuple[float, ...] | list[float], temperature: float) -> list[float]:
    """Turn one raw output into probabilities; the same bits in every process of one machine."""
    scaled = [value / temperature for value in raw]
    highest = max(scaled)
    exponentials = [math.exp(value - highest) for value in scaled]
    total = math.fsum(exponentials)
    return [value / total for value in exponentials]


def fit_temperature(raw: Array, labels: Array) -> float:
    """Choose the temperature with the smallest log loss, by golden section on a logarithmic scale."""
    import numpy as np

    def measure_loss(log_temperature: float) -> float:
        probabilities = softmax_rows(raw, math.exp(log_temperature))
        chosen = np.maximum(probabilities[np.arange(len(labels)), labels], MIN_PROBABILITY)
        return float(-np.log(chosen).mean())

    low, high = (math.log(limit) for limit in TEMPERATURES)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, second) if measure_loss(first) < measure_loss(second) else (first, high)
    return math.exp((low + high) / 2)

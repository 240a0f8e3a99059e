"""From a raw score to a probability, and from a probability to a decision; pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wellspring.models.artefact import Platt
from wellspring.models.definition import Threshold

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STEPS = 1000
"""Thresholds are looked for in thousandths: three digits that a person can read and approve."""


def fit(raw: Array, truth: Array) -> Platt:
    """Fit Platt's two numbers by Newton's method on rows that the booster has not seen.

    The targets are drawn in a little, as Platt 1999 does, so that few rows cannot make the model certain.
    """
    import numpy as np

    good = float(truth.sum())
    bad = float(len(truth) - good)
    target = np.where(truth, (good + 1) / (good + 2), 1 / (bad + 2))
    a, b = 1.0, 0.0
    for _ in range(100):
        p = chance(a * raw + b)
        slope, weight = p - target, np.maximum(p * (1 - p), 1e-12)
        first = np.array([(slope * raw).sum(), slope.sum()])
        cross = (weight * raw).sum()
        second = np.array([[(weight * raw * raw).sum() + 1e-9, cross], [cross, weight.sum() + 1e-9]])
        step = np.linalg.solve(second, first)
        # Far from the goal Newton's step may overshoot for ever; a bounded one cannot.
        step = np.clip(step, -2.0, 2.0)
        a, b = float(a - step[0]), float(b - step[1])
        if abs(step).max() < 1e-10:
            break
    return Platt(a=a.hex(), b=b.hex())


def probabilities(platt: Platt, raw: Array) -> Array:
    """Calibrate many raw scores at once; one answer's score is `Platt.probability`."""
    return chance(float.fromhex(platt.a) * raw + float.fromhex(platt.b))


def threshold(rule: Threshold, probability: Array, truth: Array) -> str:
    """Choose the threshold, as decimal text, by the rule on rows that the booster has not seen."""
    import numpy as np

    if rule.fixed is not None:
        return rule.fixed
    steps = np.arange(1, STEPS) / STEPS
    good, bad = np.sort(probability[truth]), np.sort(probability[~truth])
    caught = len(good) - np.searchsorted(good, steps, side="left")
    alarms = len(bad) - np.searchsorted(bad, steps, side="left")
    if rule.recall is not None:
        enough = np.flatnonzero(caught >= float(rule.recall) * len(good))
        best = int(enough[-1]) if len(enough) else 0
    else:
        best = int(np.argmax(caught * float(rule.caught or 0) - alarms * float(rule.false_alarm or 0)))
    return str(Decimal(best + 1) / STEPS)


def chance(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    import numpy as np

    grown = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, grown) / (1.0 + grown)

"""Turn raw scores into probabilities, and choose the decision threshold. Pure functions."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wellspring.models.spec.artifact import PlattCalibration
from wellspring.models.spec.definition import Threshold

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

THRESHOLD_STEPS = 1000
"""Thresholds are multiples of one thousandth: three digits that a person can read and approve."""


def fit_platt(raw_scores: Array, labels: Array) -> PlattCalibration:
    """Fit Platt's two parameters by Newton's method on rows that the booster was not trained on.

    The targets are smoothed as in Platt 1999, so that few rows cannot give probabilities of 0 or 1.
    """
    import numpy as np

    positives = float(labels.sum())
    negatives = float(len(labels) - positives)
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    a, b = 1.0, 0.0
    for _ in range(100):
        p = sigmoid(a * raw_scores + b)
        slope, weight = p - target, np.maximum(p * (1 - p), 1e-12)
        gradient = np.array([(slope * raw_scores).sum(), slope.sum()])
        cross = (weight * raw_scores).sum()
        hessian = np.array([[(weight * raw_scores * raw_scores).sum() + 1e-9, cross], [cross, weight.sum() + 1e-9]])
        step = np.linalg.solve(hessian, gradient)
        # Far from the optimum an unbounded Newton step can overshoot without end.
        step = np.clip(step, -2.0, 2.0)
        a, b = float(a - step[0]), float(b - step[1])
        if abs(step).max() < 1e-10:
            break
    return PlattCalibration(a=a.hex(), b=b.hex())


def calibrate_scores(platt: PlattCalibration, raw_scores: Array) -> Array:
    """Calibrate many raw scores; `PlattCalibration.calibrate_score` does it for one."""
    return sigmoid(float.fromhex(platt.a) * raw_scores + float.fromhex(platt.b))


def choose_threshold(rule: Threshold, probabilities: Array, labels: Array) -> str:
    """Choose the threshold, as decimal text, by the rule, on rows that the booster was not trained on."""
    import numpy as np

    if rule.fixed is not None:
        return rule.fixed
    steps = np.arange(1, THRESHOLD_STEPS) / THRESHOLD_STEPS
    positives, negatives = np.sort(probabilities[labels]), np.sort(probabilities[~labels])
    true_positives = len(positives) - np.searchsorted(positives, steps, side="left")
    false_positives = len(negatives) - np.searchsorted(negatives, steps, side="left")
    if rule.recall is not None:
        feasible = np.flatnonzero(true_positives >= float(rule.recall) * len(positives))
        best = int(feasible[-1]) if len(feasible) else 0
    else:
        best = int(
            np.argmax(
                true_positives * float(rule.true_positive_benefit or 0)
                - false_positives * float(rule.false_positive_cost or 0)
            )
        )
    return str(Decimal(best + 1) / THRESHOLD_STEPS)


def sigmoid(z: Array) -> Array:
    """Compute 1 / (1 + exp(-z)) without overflow."""
    import numpy as np

    exp_z = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, exp_z) / (1.0 + exp_z)

"""Turn raw scores into probabilities. Pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class PlattCalibration(Frozen):
    """Map a raw score to a probability: 1 / (1 + exp(-(a * raw + b))). a, b: float.hex()."""

    kind: Literal["platt"] = "platt"
    a: str
    b: str

    def calibrate_score(self, raw_score: float) -> float:
        """Calibrate one raw score; the same bits in every process of one machine."""
        z = float.fromhex(self.a) * raw_score + float.fromhex(self.b)
        if z >= 0:
            return 1.0 / (1.0 + math.exp(-z))
        exp_z = math.exp(z)
        return exp_z / (1.0 + exp_z)


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


def sigmoid(z: Array) -> Array:
    """Compute 1 / (1 + exp(-z)) without overflow."""
    import numpy as np

    exp_z = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, exp_z) / (1.0 + exp_z)

"""The threshold of a binary decision: the rule in the model file, and the choice by that rule on validation rows."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from wellspring.records.decisions import DecimalText, ProbabilityText
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

THRESHOLD_STEPS = 1000
"""Thresholds are multiples of one thousandth: three digits that a person can read and approve."""


class Threshold(Frozen):
    """The score from which the second label is predicted; exactly one rule.

    recall: the highest score with at least this recall. true_positive_benefit and false_positive_cost: the score with
    the highest expected value. fixed: this score.
    """

    recall: DecimalText | None = None
    true_positive_benefit: DecimalText | None = None
    false_positive_cost: DecimalText | None = None
    fixed: ProbabilityText | None = None

    @model_validator(mode="after")
    def _check_single_rule(self) -> Self:
        rules = [self.recall is not None, self.true_positive_benefit is not None, self.fixed is not None]
        if sum(rules) != 1 or (self.true_positive_benefit is None) != (self.false_positive_cost is None):
            raise ValueError("give recall, or fixed, or true_positive_benefit together with false_positive_cost")
        if self.recall is not None and Decimal(self.recall) > 1:
            raise ValueError("recall must be between 0 and 1")
        return self


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

"""Define the decision rules: how the score of a prediction becomes its decision. A release contains one.

The verifier applies these rules again with code of its own (`wellspring_verify.releases`), so a task, also one of a
plugin, uses one of these three kinds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wellspring.records.record import Frozen

DecimalText = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
"""Decimal text, so that an approved value has exactly one spelling."""
SignedDecimalText = Annotated[str, Field(pattern=r"^-?\d{1,15}(\.\d{1,9})?$")]
MAX_PROBABILITIES = 20
"""A prediction and its ledger entry list at most this many classes, the most likely first."""
MIN_CLASS_THRESHOLD = 1 / MAX_PROBABILITIES
"""At most 20 classes can have a probability of 0.05, so the listed classes suffice to apply the rule again."""


class ThresholdRule(Frozen):
    """The second label for a score at or above the threshold, the first below it. threshold: decimal text."""

    kind: Literal["threshold"] = "threshold"
    labels: tuple[str, str]
    threshold: DecimalText


class MostLikelyRule(Frozen):
    """The most likely label whose probability reaches its threshold; `otherwise` if none does.

    thresholds: by label, as decimal text; a label without one always reaches it. otherwise: "" if thresholds is empty.
    """

    kind: Literal["most_likely"] = "most_likely"
    labels: tuple[str, ...]
    thresholds: dict[str, DecimalText] = {}
    otherwise: str = ""


class ValueRule(Frozen):
    """A number with an interval: score - half_width to score + half_width. half_width: float.hex.

    coverage: the share of outcomes that the interval is made to contain. labels and threshold: as in `ThresholdRule`;
    without them the decision is "".
    """

    kind: Literal["value"] = "value"
    coverage: DecimalText
    half_width: str
    labels: tuple[str, str] | None = None
    threshold: SignedDecimalText | None = None


DecisionRule = Annotated[ThresholdRule | MostLikelyRule | ValueRule, Field(discriminator="kind")]

"""Define the decision rules: how the score of a prediction becomes its decision. A release contains one.

The verifier applies these rules again with code of its own (`wellspring_verify.releases`), so a task, also one of a
plugin, uses one of these three kinds. Tasks use the same types and checks for the rule in a model file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wellspring.records.record import Frozen

MAX_LABEL_LENGTH = 200
MAX_PROBABILITIES = 20
"""A prediction and its ledger entry list at most this many classes, the most likely first."""
MIN_CLASS_THRESHOLD = 1 / MAX_PROBABILITIES
"""At most 20 classes reach a probability of 0.05, so a class outside the 20 most likely is decided only if it has no
threshold or is `otherwise`. It then takes the last place of the list, which suffices to apply the rule again."""


def _require_different(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be different")
    return labels


def _require_probability(text: str) -> str:
    if not 0 < float(text) < 1:
        raise ValueError("must be a decimal between 0 and 1")
    return text


def _require_class_threshold(text: str) -> str:
    if float(text) < MIN_CLASS_THRESHOLD:
        raise ValueError(f"must be at least {MIN_CLASS_THRESHOLD}, because a prediction lists only the likely classes")
    return text


def _require_width(text: str) -> str:
    try:
        is_width = 0 <= float.fromhex(text) < math.inf
    except OverflowError:
        is_width = False
    if not is_width:
        raise ValueError("must be a finite number, not negative")
    return text


DecimalText = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
"""Decimal text, so that an approved value has exactly one spelling."""
SignedDecimalText = Annotated[str, Field(pattern=r"^-?\d{1,15}(\.\d{1,9})?$")]
ProbabilityText = Annotated[DecimalText, AfterValidator(_require_probability)]
"""Decimal text strictly between 0 and 1."""
ClassThresholdText = Annotated[ProbabilityText, AfterValidator(_require_class_threshold)]
LabelText = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_LENGTH)]
LabelPair = Annotated[tuple[LabelText, LabelText], AfterValidator(_require_different)]
ClassLabels = Annotated[tuple[LabelText, ...], Field(min_length=2), AfterValidator(_require_different)]


def check_class_thresholds(labels: Sequence[str], thresholds: Mapping[str, str], otherwise: str) -> None:
    """Raise ValueError unless thresholds and otherwise name some of the labels, or are both empty."""
    if bool(thresholds) != bool(otherwise):
        raise ValueError("give thresholds together with otherwise, or neither")
    if not {*thresholds, otherwise} <= {*labels, ""}:
        raise ValueError("thresholds and otherwise must name some of the labels")


def check_value_threshold(labels: tuple[str, str] | None, threshold: str | None) -> None:
    """Raise ValueError unless a number has a threshold together with labels, or neither."""
    if (threshold is None) != (labels is None):
        raise ValueError("give threshold together with labels, or neither")


class ThresholdRule(Frozen):
    """The second label for a score at or above the threshold, the first below it. threshold: decimal text."""

    kind: Literal["threshold"] = "threshold"
    labels: LabelPair
    threshold: ProbabilityText


class MostLikelyRule(Frozen):
    """The most likely label whose probability reaches its threshold; `otherwise` if none does.

    thresholds: by label, as decimal text; a label without one always reaches it. otherwise: "" if thresholds is empty.
    """

    kind: Literal["most_likely"] = "most_likely"
    labels: ClassLabels
    thresholds: dict[LabelText, ClassThresholdText] = {}
    otherwise: str = ""

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        check_class_thresholds(self.labels, self.thresholds, self.otherwise)
        return self


class ValueRule(Frozen):
    """A number with an interval: score - half_width to score + half_width. half_width: float.hex.

    coverage: the share of outcomes that the interval is made to contain. labels and threshold: as in `ThresholdRule`;
    without them the decision is "".
    """

    kind: Literal["value"] = "value"
    coverage: ProbabilityText
    half_width: Annotated[str, AfterValidator(_require_width)]
    labels: LabelPair | None = None
    threshold: SignedDecimalText | None = None

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        check_value_threshold(self.labels, self.threshold)
        return self


DecisionRule = Annotated[ThresholdRule | MostLikelyRule | ValueRule, Field(discriminator="kind")]

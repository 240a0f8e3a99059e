"""Read the text of a release, whose digest two users signed, and apply its decision rule to a recorded prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical

RULE_FIELD = "decision_rule"
MAX_LISTED = 20
"""A prediction lists at most this many classes."""


def parse_release(content: bytes) -> dict[str, CanonicalValue] | None:
    """Read the text of a release; None if it is not one."""
    try:
        value = loads_canonical(content)
    except MalformedError:
        return None
    return value if isinstance(value, dict) else None


def release_threshold(release: Mapping[str, CanonicalValue]) -> CanonicalValue:
    """Return the threshold of a release's decision rule; None without one."""
    rule = release.get(RULE_FIELD)
    return rule.get("threshold") if isinstance(rule, dict) else None


def decide_label(release: Mapping[str, CanonicalValue], facts: Mapping[str, CanonicalValue]) -> str | None:
    """Return the decision that a release gives to the numbers of a prediction; None if one of them is malformed.

    facts: of the entry of the prediction; its numbers are texts of float.hex. Three kinds of rules are known:
    `threshold`: the second label for a score at or above the threshold; both are compared as floats, as in the API.
    `most_likely`: the most likely label that reaches its own threshold, else the label `otherwise`.
    `value`: as `threshold` if the rule has a threshold, else "".
    """
    rule = release.get(RULE_FIELD)
    if not isinstance(rule, dict):
        return None
    try:
        match rule.get("kind"):
            case "threshold":
                return _decide_by_threshold(rule, facts)
            case "most_likely":
                return _decide_most_likely(rule, facts)
            case "value":
                return "" if rule.get("threshold") is None else _decide_by_threshold(rule, facts)
            case _:
                return None
    except (KeyError, ValueError, OverflowError, TypeError):
        return None


def find_output_fault(release: Mapping[str, CanonicalValue], facts: Mapping[str, CanonicalValue]) -> str | None:
    """Return how the numbers of a prediction contradict each other or its release; None if they agree."""
    rule = release.get(RULE_FIELD)
    if not isinstance(rule, dict):
        return None
    interval, probabilities = facts.get("interval"), facts.get("probabilities")
    try:
        if rule.get("kind") == "value":
            score, half_width = _read_float(facts["score"]), _read_float(rule["half_width"])
            expected = [score - half_width, score + half_width]
            if not isinstance(interval, list) or [_read_float(end) for end in interval] != expected:
                return "its interval does not follow from its score"
        elif interval is not None:
            return "it has an interval, and its release has none"
        if rule.get("kind") == "most_likely":
            return _find_probability_fault(rule, facts)
    except (KeyError, ValueError, OverflowError, TypeError):
        return "its numbers are malformed"
    return "it has probabilities of classes, and its release has none" if probabilities is not None else None


def _decide_by_threshold(rule: Mapping[str, CanonicalValue], facts: Mapping[str, CanonicalValue]) -> str | None:
    labels, threshold = rule["labels"], rule["threshold"]
    if not isinstance(labels, list) or len(labels) != 2 or not isinstance(threshold, str):
        return None
    label = labels[_read_float(facts["score"]) >= float(threshold)]
    return label if isinstance(label, str) else None


def _decide_most_likely(rule: Mapping[str, CanonicalValue], facts: Mapping[str, CanonicalValue]) -> str | None:
    thresholds, otherwise = rule["thresholds"], rule["otherwise"]
    if not isinstance(thresholds, dict) or not isinstance(otherwise, str):
        return None
    for label, probability in _read_probabilities(facts):
        threshold = thresholds.get(label, "0")
        if not isinstance(threshold, str):
            return None
        if probability >= float(threshold):
            return label
    return otherwise


def _find_probability_fault(rule: Mapping[str, CanonicalValue], facts: Mapping[str, CanonicalValue]) -> str | None:
    pairs = _read_probabilities(facts)
    values = [probability for _, probability in pairs]
    labels = rule["labels"]
    if not isinstance(labels, list) or any(label not in labels for label, _ in pairs):
        return "it names a class that its release does not have"
    if values != sorted(values, reverse=True) or len({label for label, _ in pairs}) != len(pairs):
        return "its classes are not listed once each, the most likely first"
    # A sum of rounded shares may exceed 1 by a little.
    if not all(0 <= value <= 1 for value in values) or sum(values) > 1 + 1e-9:
        return "its probabilities are not shares of one"
    if (unlisted := len(labels) - len(pairs)) < 0 or len(pairs) != min(MAX_LISTED, len(labels)):
        return "it does not list all of its most likely classes"
    # A decided class that is not among the most likely takes the last place, and says nothing about the unlisted ones.
    largest_unlisted = values[-2] if pairs[-1][0] == facts["decision"] and len(pairs) > 1 else values[-1]
    if 1 - sum(values) > unlisted * largest_unlisted + 1e-9:
        return "its probabilities are not shares of one"
    if _read_float(facts["score"]) not in [value for label, value in pairs if label == facts["decision"]]:
        return "its score is not the probability of its decision"
    return None


def _read_probabilities(facts: Mapping[str, CanonicalValue]) -> list[tuple[str, float]]:
    pairs = cast("list[list[CanonicalValue]]", facts["probabilities"])
    return [(str(label), _read_float(probability)) for label, probability in pairs]


def _read_float(text: CanonicalValue) -> float:
    return float.fromhex(cast("str", text))

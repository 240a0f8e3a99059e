import pytest

from tests.builders.prediction_story import RELEASE
from wellspring_verify.canonical import CanonicalValue, dumps_canonical
from wellspring_verify.releases import decide_label, find_output_fault, parse_release, release_threshold


def released(**rule: CanonicalValue) -> dict[str, CanonicalValue]:
    return {"decision_rule": {"kind": "threshold", "labels": ["pays", "denies"], "threshold": "0.5", **rule}}


def classes(**changes: CanonicalValue) -> dict[str, CanonicalValue]:
    """A release of three classes."""
    rule = {"kind": "most_likely", "labels": ["a", "b", "c"], "thresholds": {}, "otherwise": ""}
    return {"decision_rule": {**rule, **changes}}


def value(**changes: CanonicalValue) -> dict[str, CanonicalValue]:
    """A release of a regression."""
    rule = {"kind": "value", "coverage": "0.9", "half_width": (2.5).hex(), "labels": None, "threshold": None}
    return {"decision_rule": {**rule, **changes}}


def probabilities(*pairs: tuple[str, float], decision: str = "b") -> dict[str, CanonicalValue]:
    numbers: list[CanonicalValue] = [[label, probability.hex()] for label, probability in pairs]
    score = next((probability for label, probability in pairs if label == decision), 0.0)
    return {"score": score.hex(), "decision": decision, "probabilities": numbers}


def test_a_release_is_read_from_its_one_text():
    assert parse_release(dumps_canonical(RELEASE)) == RELEASE
    for error in (b"", b"[]", b"{", b'{"a": 1}', b"\xff", dumps_canonical(RELEASE) + b"\n"):
        assert parse_release(error) is None


@pytest.mark.parametrize(
    ("score", "threshold", "due"),
    [(0.5, "0.5", "denies"), (0.49999999999999994, "0.5", "pays"), (0.3, "0.30", "denies"), (0.0, "0.001", "pays")],
)
def test_the_second_label_is_for_a_score_at_or_above_the_threshold(score: float, threshold: str, due: str):
    assert decide_label(released(threshold=threshold), {"score": score.hex()}) == due


@pytest.mark.parametrize(
    "odd",
    [
        {"threshold": None}, {"threshold": 1}, {"threshold": "half"}, {"threshold": ""}, {"labels": "pd"},
        {"labels": []}, {"labels": ["pays"]}, {"labels": [1, 2]}, {"labels": ["a", "b", "c"]}, {"kind": "newer"},
    ],
)  # fmt: skip
def test_what_cannot_decide_decides_nothing(odd: dict[str, CanonicalValue]):
    assert decide_label(released(**odd), {"score": (0.75).hex()}) is None
    assert decide_label({}, {"score": (0.75).hex()}) is None


@pytest.mark.parametrize("score", ["", "x", "0x1p99999", None, 1])
def test_a_score_that_is_not_a_number_has_no_label(score: CanonicalValue):
    assert decide_label(released(), {"score": score}) is None


def test_the_most_likely_class_that_reaches_its_threshold_is_decided():
    facts = probabilities(("b", 0.5), ("a", 0.4), ("c", 0.1))
    assert decide_label(classes(), facts) == "b"
    assert decide_label(classes(thresholds={"b": "0.6"}, otherwise="c"), facts) == "a"
    assert decide_label(classes(thresholds={"b": "0.6", "a": "0.5", "c": "0.2"}, otherwise="c"), facts) == "c"
    odd_rules: list[dict[str, CanonicalValue]] = [{"thresholds": None}, {"thresholds": {"b": 1}}, {"otherwise": None}]
    for odd in odd_rules:
        assert decide_label(classes(**odd), facts) is None
    assert decide_label(classes(), {"score": (0.5).hex()}) is None


def test_a_value_is_decided_only_with_a_threshold():
    facts: dict[str, CanonicalValue] = {"score": (7.0).hex()}
    assert decide_label(value(), facts) == ""
    assert decide_label(value(threshold="7", labels=["short", "long"]), facts) == "long"
    assert decide_label(value(threshold="-7", labels=["short", "long"]), {"score": (-8.0).hex()}) == "short"


def test_the_interval_follows_from_score_and_release():
    facts: dict[str, CanonicalValue] = {"score": (7.0).hex(), "interval": [(4.5).hex(), (9.5).hex()]}
    assert find_output_fault(value(), facts) is None
    intervals: list[CanonicalValue] = [None, [], [(4.5).hex()], [(4.5).hex(), (9.6).hex()]]
    for interval in intervals:
        assert find_output_fault(value(), {**facts, "interval": interval}) == (
            "its interval does not follow from its score"
        )
    assert find_output_fault(value(half_width=3), facts) == "its numbers are malformed"
    assert find_output_fault(released(), facts) == "it has an interval, and its release has none"


def test_the_probabilities_agree_with_score_and_decision():
    facts = probabilities(("b", 0.5), ("a", 0.4), ("c", 0.1))
    assert find_output_fault(classes(), facts) is None
    for odd, message in (
        (
            probabilities(("b", 0.4), ("a", 0.5), ("c", 0.1)),
            "its classes are not listed once each, the most likely first",
        ),
        (
            probabilities(("b", 0.4), ("b", 0.4), ("c", 0.1)),
            "its classes are not listed once each, the most likely first",
        ),
        (probabilities(("b", 0.9), ("a", 0.4), ("c", 0.1)), "its probabilities are not shares of one"),
        (probabilities(("b", 0.5), ("a", 0.3), ("c", 0.1)), "its probabilities are not shares of one"),
        (probabilities(("b", 0.5), ("x", 0.4), ("c", 0.1)), "it names a class that its release does not have"),
        (probabilities(("b", 0.5), ("a", 0.4)), "it does not list all of its most likely classes"),
        ({**facts, "score": (0.4).hex()}, "its score is not the probability of its decision"),
        ({**facts, "probabilities": None}, "its numbers are malformed"),
    ):
        assert find_output_fault(classes(), odd) == message
    assert find_output_fault(released(), facts) == "it has probabilities of classes, and its release has none"


def test_a_release_without_a_threshold_has_none():
    assert (release_threshold(released()), release_threshold(classes()), release_threshold({})) == ("0.5", None, None)

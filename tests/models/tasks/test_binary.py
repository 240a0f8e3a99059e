import numpy as np
import pytest

from wellspring.models.tasks.binary import Binary, BinaryCriteria
from wellspring.models.tasks.threshold import Threshold

TASK = Binary(labels=("no", "yes"), threshold=Threshold(fixed="0.50"))


def test_the_decision_is_the_second_label_from_the_threshold_on():
    raw, labels = np.array([[-2.0], [2.0]] * 50), np.array([False, True] * 50)
    decoder = TASK.fit_decoder(raw, labels, TASK.labels)
    rule = decoder.decision_rule
    exact = decoder.model_copy(update={"decision_rule": rule.model_copy(update={"threshold": "0.5"})})
    platt = exact.calibration.model_copy(update={"a": (1.0).hex(), "b": (0.0).hex()})
    exact = exact.model_copy(update={"calibration": platt})
    assert exact.decode_row([0.0]).score == 0.5
    assert exact.decode_row([0.0]).decision == "yes"
    assert exact.decode_row([-1e-9]).decision == "no"
    assert exact.flag_rows(np.array([0.5, 0.4999])).tolist() == [True, False]


def test_two_equal_labels_are_refused():
    with pytest.raises(ValueError, match="labels must be different"):
        Binary(labels=("yes", "yes"), threshold=Threshold(fixed="0.50"))


def test_a_subgroup_needs_rows_of_both_classes():
    scores, labels = np.linspace(0, 1, 100), np.arange(100) >= 81
    decoder = TASK.fit_decoder(scores.reshape(-1, 1), labels, TASK.labels)
    assert not TASK.measure_subgroup(scores, labels, decoder).enough_rows
    assert TASK.measure_subgroup(scores, np.arange(100) >= 80, decoder).enough_rows
    assert TASK.measure_subgroup(scores, np.zeros(100, bool), decoder).metrics == {}


def test_missing_values_that_determine_the_label_are_a_leak():
    rng = np.random.default_rng(1)
    labels = rng.random(1000) < 0.3
    values = np.where(labels, np.nan, rng.normal(size=1000))
    assert TASK.find_target_leak(values, labels, categorical=False) == "whether it is missing determines the label"


def test_the_size_budget_of_the_reasons_is_part_of_the_criteria():
    assert BinaryCriteria().size == {"trees": 300, "leaves": 31}

import numpy as np
import pyarrow as pa
import pytest

from wellspring.models.tasks.regression import Regression
from wellspring.records.decisions import ValueRule

TASK = Regression()


def test_labels_that_are_not_finite_are_refused_unless_unused():
    values = pa.chunked_array([pa.array([1.0, float("nan"), float("inf"), None])])
    with pytest.raises(ValueError, match="has 3 values that are not finite numbers"):
        TASK.encode_labels(values, np.arange(4))
    assert TASK.encode_labels(values, np.array([0])).values[0] == 1.0
    assert TASK.label_type_error(pa.bool_()) == "a label of a regression must be a number"
    assert TASK.label_type_error(pa.decimal128(10, 2)) is None


def test_the_interval_covers_as_intended_and_the_gate_checks_it():
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(2000, 1))
    labels = raw[:, 0] + rng.normal(size=2000)
    decoder = TASK.fit_decoder(raw[:1000], labels[:1000], ())
    metrics = TASK.measure(raw[1000:, 0], labels[1000:], decoder, seed=1)
    assert metrics["coverage"].low < 0.90 < metrics["coverage"].high
    low, high = decoder.decode_row([3.0]).interval or (0, 0)
    assert high - 3.0 == pytest.approx(1.645, abs=0.15)
    assert (low + high) / 2 == pytest.approx(3.0)


def test_without_a_threshold_nothing_is_decided():
    decoder = TASK.fit_decoder(np.zeros((10, 1)), np.arange(10.0), ())
    assert decoder.decode_row([3.0]).decision == ""
    rule = decoder.decision_rule
    for broken in (
        {"half_width": "inf"}, {"half_width": "x"}, {"half_width": (-1.0).hex()}, {"threshold": "1"},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            ValueRule.model_validate({**rule.model_dump(), **broken})


@pytest.mark.parametrize("fields", [{"threshold": "3"}, {"labels": ("a", "b")}, {"coverage": "1"}, {"coverage": "0"}])
def test_settings_that_do_not_belong_together_are_refused(fields: dict):
    with pytest.raises(ValueError, match="Regression"):
        Regression(**fields)


def test_a_biased_subgroup_is_refused():
    scores = np.zeros(100)
    labels = np.random.default_rng(1).normal(0.5, 1.0, 100)
    subgroup = TASK.measure_subgroup(scores, labels, TASK.fit_decoder(scores.reshape(-1, 1), labels, ()))
    (finding,) = TASK.check_subgroup(subgroup)
    assert (finding.outcome, finding.reason.code) == ("fail", "subgroup_bias")

import numpy as np
import pytest

from wellspring.models.metrics import calibration
from wellspring.models.tasks.threshold import Threshold, choose_threshold


def world(rows: int = 20_000):
    chance = np.random.default_rng(5)
    raw = chance.normal(0, 2, rows)
    return raw, chance.random(rows) < 1 / (1 + np.exp(-(0.5 * raw - 1.0)))


@pytest.mark.parametrize(
    "rule", [{}, {"recall": "0.8", "fixed": "0.5"}, {"true_positive_benefit": "3"}, {"recall": "1.2"}, {"fixed": "-1"}]
)
def test_a_threshold_has_exactly_one_rule(rule: dict[str, str]):
    with pytest.raises(ValueError, match="Threshold"):
        Threshold(**rule)


def test_a_threshold_by_recall_catches_that_share_and_no_higher_one_does():
    raw, labels = world()
    output = calibration.calibrate_scores(calibration.fit_platt(raw, labels), raw)
    chosen = choose_threshold(Threshold(recall="0.80"), output, labels)
    assert (output[labels] >= float(chosen)).mean() >= 0.80
    assert (output[labels] >= float(chosen) + 0.001).mean() < 0.80


def test_a_threshold_by_value_is_where_an_alarm_pays():
    raw, labels = world(200_000)
    output = calibration.calibrate_scores(calibration.fit_platt(raw, labels), raw)
    # An alarm at probability p brings 30 p and costs 10 (1 - p): it pays from a quarter on.
    chosen = choose_threshold(Threshold(true_positive_benefit="30", false_positive_cost="10"), output, labels)
    assert float(chosen) == pytest.approx(0.25, abs=0.03)


def test_a_fixed_threshold_is_taken_as_it_is_written():
    assert choose_threshold(Threshold(fixed="0.50"), np.array([0.1]), np.array([True])) == "0.50"

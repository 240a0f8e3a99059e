import numpy as np
import pytest

from wellspring.models.evaluation import calibration
from wellspring.models.spec.definition import Threshold


def world(rows: int = 20_000):
    chance = np.random.default_rng(5)
    raw = chance.normal(0, 2, rows)
    return raw, chance.random(rows) < 1 / (1 + np.exp(-(0.5 * raw - 1.0)))


def test_platt_finds_the_curve_that_made_the_truth():
    platt = calibration.fit_platt(*world())
    assert float.fromhex(platt.a) == pytest.approx(0.5, abs=0.03)
    assert float.fromhex(platt.b) == pytest.approx(-1.0, abs=0.05)


def test_it_stays_finite_where_the_kinds_are_parted():
    raw = np.concatenate([np.full(20, -9.0), np.full(20, 9.0)])
    platt = calibration.fit_platt(raw, raw > 0)
    assert 0.9 < platt.calibrate_score(9.0) < 1.0


def test_one_score_and_many_say_the_same():
    raw, labels = world(500)
    platt = calibration.fit_platt(raw, labels)
    many = calibration.calibrate_scores(platt, raw)
    assert (
        max(
            abs(platt.calibrate_score(raw_score) - item)
            for raw_score, item in zip(raw.tolist(), many.tolist(), strict=True)
        )
        < 1e-15
    )
    assert platt.calibrate_score(-1e9) == 0.0
    assert platt.calibrate_score(1e9) == 1.0


def test_a_threshold_by_recall_catches_that_share_and_no_higher_one_does():
    raw, labels = world()
    output = calibration.calibrate_scores(calibration.fit_platt(raw, labels), raw)
    chosen = calibration.choose_threshold(Threshold(recall="0.80"), output, labels)
    assert (output[labels] >= float(chosen)).mean() >= 0.80
    assert (output[labels] >= float(chosen) + 0.001).mean() < 0.80


def test_a_threshold_by_value_is_where_an_alarm_pays():
    raw, labels = world(200_000)
    output = calibration.calibrate_scores(calibration.fit_platt(raw, labels), raw)
    # An alarm at probability p brings 30 p and costs 10 (1 - p): it pays from a quarter on.
    chosen = calibration.choose_threshold(
        Threshold(true_positive_benefit="30", false_positive_cost="10"), output, labels
    )
    assert float(chosen) == pytest.approx(0.25, abs=0.03)


def test_a_fixed_threshold_is_taken_as_it_is_written():
    assert calibration.choose_threshold(Threshold(fixed="0.50"), np.array([0.1]), np.array([True])) == "0.50"

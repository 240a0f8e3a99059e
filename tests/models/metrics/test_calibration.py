import numpy as np
import pytest

from wellspring.models.metrics import calibration


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

import math

import numpy as np
import pytest

from wellspring.models.metrics import binary as metrics
from wellspring.models.metrics import intervals


def world(rows: int = 400, seed: int = 3, ties: bool = False):
    chance = np.random.default_rng(seed)
    labels = chance.random(rows) < 0.3
    score = chance.normal(0, 1, rows) + labels
    return (np.round(score, 1) if ties else score), labels


def brute(score, labels):
    """The share of pairs in the right order, ties half, and the structural components of DeLong, pair by pair."""
    good, bad = score[labels], score[~labels]
    pairs = (good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])
    return pairs.mean(), pairs.mean(axis=1), pairs.mean(axis=0)


def test_a_small_case_by_hand():
    # Pairs: 3 over 1, 5 over 1, 5 over 4 are right, 3 over 4 is wrong; the components are (1/2, 1) and (1, 1/2).
    matches = metrics.estimate_auc(np.array([3.0, 5.0, 1.0, 4.0]), np.array([True, True, False, False]))
    assert matches.value == 0.75
    assert matches.high == 1.0
    assert matches.low == pytest.approx(0.75 - metrics.NORMAL_95 * math.sqrt(0.125))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_its_interval_are_those_of_all_pairs(ties: bool):
    score, labels = world(ties=ties)
    value, caught, passed = brute(score, labels)
    matches = metrics.estimate_auc(score, labels)
    spread = metrics.NORMAL_95 * math.sqrt(caught.var(ddof=1) / len(caught) + passed.var(ddof=1) / len(passed))
    assert matches.value == pytest.approx(value)
    assert (matches.low, matches.high) == (pytest.approx(value - spread), pytest.approx(value + spread))
    assert metrics.compute_auc(score, labels) == pytest.approx(value)


def test_the_interval_covers_about_95_of_100():
    covered = 0
    for seed in range(200):
        score, labels = world(300, seed)
        matches = metrics.estimate_auc(score, labels)
        # P(N(1,1) > N(0,1)) = Phi(1 / sqrt 2)
        covered += matches.low <= 0.7602499389065233 <= matches.high
    assert 180 <= covered <= 199


def test_paired_delong_is_that_of_all_pairs():
    first, labels = world(ties=True)
    second = first + np.random.default_rng(4).normal(0, 2, len(labels))
    value, caught, passed = brute(first, labels)
    value_2, caught_2, passed_2 = brute(second, labels)
    deviation = math.sqrt((caught - caught_2).var(ddof=1) / len(caught) + (passed - passed_2).var(ddof=1) / len(passed))
    matches = metrics.delong_test(first, second, labels)
    assert matches.difference.value == pytest.approx(value - value_2)
    assert matches.z == pytest.approx((value - value_2) / deviation)
    assert matches.p == pytest.approx(math.erfc(abs(matches.z) / math.sqrt(2)))
    assert matches.p < 0.05


def test_a_score_is_no_better_than_itself():
    score, labels = world()
    matches = metrics.delong_test(score, score * 2 + 1, labels)
    assert (matches.difference.value, matches.z, matches.p) == (0.0, 0.0, 1.0)


def test_one_class_has_no_auc():
    with pytest.raises(ValueError, match="both classes"):
        metrics.estimate_auc(np.array([1.0, 2.0]), np.array([True, True]))


def test_average_precision_by_hand():
    # From the top: hit, miss, hit, miss: 1/2 * 1 + 1/2 * 2/3.
    score, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert metrics.estimate_average_precision(score, labels, seed=1).value == pytest.approx(0.5 + 0.5 * 2 / 3)
    tied = metrics.estimate_average_precision(np.zeros(4), labels, seed=1)
    assert tied.value == pytest.approx(0.5)


def test_brier_and_calibration_error_by_hand():
    output, labels = np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, True, True, True])
    assert metrics.estimate_brier_score(output, labels, seed=1).value == pytest.approx((0.04 + 0.64 + 0.04 + 0.04) / 4)
    # Two bins: 0.2 was said and 0.5 happened, 0.8 was said and 1 happened.
    matches = metrics.estimate_calibration_error(output, labels, bins=2)
    assert matches.value == pytest.approx((0.3 * 2 + 0.2 * 2) / 4)
    # Of 2 and of 2 rows 1 and 2 happened; with one more of each kind that is 2 of 4 and 3 of 4.
    item, second = math.sqrt(2 * 0.25) / 4, math.sqrt(2 * 0.1875) / 4
    assert matches.high == pytest.approx(0.25 + metrics.NORMAL_95 * math.hypot(item, second))
    assert matches.low == 0.0


def test_a_bootstrap_has_one_seed_and_holds_the_value():
    score, labels = world()
    output = 1 / (1 + np.exp(-score))
    once, again = (metrics.estimate_brier_score(output, labels, seed=9) for _ in range(2))
    assert once == again
    assert once != metrics.estimate_brier_score(output, labels, seed=10)
    assert once.low < once.value < once.high


def test_a_share_has_wilsons_interval():
    matches = intervals.wilson_interval(8, 10)
    assert (round(matches.low, 4), round(matches.high, 4)) == (0.4902, 0.9433)
    assert intervals.wilson_interval(0, 0).high == 1.0


def test_bins_hold_as_many_rows_each_and_equal_scores_share_one():
    place = metrics.assign_bins(np.arange(100) / 100, 4)
    assert np.bincount(place).tolist() == [25, 25, 25, 25]
    assert len(set(metrics.assign_bins(np.zeros(50), 10).tolist())) == 1


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_the_interval_of_a_calibration_error_holds_the_true_one(shift: float):
    chance = np.random.default_rng(11)
    covered, tried = 0, 400
    for _ in range(tried):
        true = chance.beta(2, 8, 2000)
        matches = metrics.estimate_calibration_error(true + shift, chance.random(2000) < true, bins=10)
        covered += matches.low <= shift <= matches.high
        assert matches.low <= matches.value <= matches.high
    assert covered >= 0.95 * tried


def test_a_bad_calibration_is_not_put_down_to_chance():
    chance = np.random.default_rng(12)
    true = chance.beta(2, 8, 2000)
    assert metrics.estimate_calibration_error(true + 0.05, chance.random(2000) < true, bins=10).low > 0.02
    # Nothing happened in any bin: that is no certainty.
    none = metrics.estimate_calibration_error(np.full(200, 0.01), np.zeros(200, bool), bins=10)
    assert none.high > none.value

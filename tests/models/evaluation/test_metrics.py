import math

import numpy as np
import pytest

from wellspring.models.evaluation import metrics


def world(rows: int = 400, seed: int = 3, ties: bool = False):
    chance = np.random.default_rng(seed)
    truth = chance.random(rows) < 0.3
    score = chance.normal(0, 1, rows) + truth
    return (np.round(score, 1) if ties else score), truth


def brute(score, truth):
    """The share of pairs in the right order, ties half, and the structural components of DeLong, pair by pair."""
    good, bad = score[truth], score[~truth]
    pairs = (good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])
    return pairs.mean(), pairs.mean(axis=1), pairs.mean(axis=0)


def test_a_small_case_by_hand():
    # Pairs: 3 over 1, 5 over 1, 5 over 4 are right, 3 over 4 is wrong; the components are (1/2, 1) and (1, 1/2).
    found = metrics.estimate_auc(np.array([3.0, 5.0, 1.0, 4.0]), np.array([True, True, False, False]))
    assert found.value == 0.75
    assert found.high == 1.0
    assert found.low == pytest.approx(0.75 - metrics.NORMAL_95 * math.sqrt(0.125))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_its_interval_are_those_of_all_pairs(ties: bool):
    score, truth = world(ties=ties)
    value, caught, passed = brute(score, truth)
    found = metrics.estimate_auc(score, truth)
    spread = metrics.NORMAL_95 * math.sqrt(caught.var(ddof=1) / len(caught) + passed.var(ddof=1) / len(passed))
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == (pytest.approx(value - spread), pytest.approx(value + spread))
    assert metrics.compute_auc(score, truth) == pytest.approx(value)


def test_the_interval_covers_about_95_of_100():
    covered = 0
    for seed in range(200):
        score, truth = world(300, seed)
        found = metrics.estimate_auc(score, truth)
        # P(N(1,1) > N(0,1)) = Phi(1 / sqrt 2)
        covered += found.low <= 0.7602499389065233 <= found.high
    assert 180 <= covered <= 199


def test_paired_delong_is_that_of_all_pairs():
    first, truth = world(ties=True)
    second = first + np.random.default_rng(4).normal(0, 2, len(truth))
    value, caught, passed = brute(first, truth)
    value_2, caught_2, passed_2 = brute(second, truth)
    deviation = math.sqrt((caught - caught_2).var(ddof=1) / len(caught) + (passed - passed_2).var(ddof=1) / len(passed))
    found = metrics.delong_test(first, second, truth)
    assert found.difference.value == pytest.approx(value - value_2)
    assert found.z == pytest.approx((value - value_2) / deviation)
    assert found.p == pytest.approx(math.erfc(abs(found.z) / math.sqrt(2)))
    assert found.p < 0.05


def test_a_score_is_no_better_than_itself():
    score, truth = world()
    found = metrics.delong_test(score, score * 2 + 1, truth)
    assert (found.difference.value, found.z, found.p) == (0.0, 0.0, 1.0)


def test_one_class_has_no_auc():
    with pytest.raises(ValueError, match="both classes"):
        metrics.estimate_auc(np.array([1.0, 2.0]), np.array([True, True]))


def test_average_precision_by_hand():
    # From the top: hit, miss, hit, miss: 1/2 * 1 + 1/2 * 2/3.
    score, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert metrics.estimate_average_precision(score, truth, seed=1).value == pytest.approx(0.5 + 0.5 * 2 / 3)
    tied = metrics.estimate_average_precision(np.zeros(4), truth, seed=1)
    assert tied.value == pytest.approx(0.5)


def test_brier_and_calibration_error_by_hand():
    said, truth = np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, True, True, True])
    assert metrics.estimate_brier_score(said, truth, seed=1).value == pytest.approx((0.04 + 0.64 + 0.04 + 0.04) / 4)
    # Two bins: 0.2 was said and 0.5 happened, 0.8 was said and 1 happened.
    found = metrics.estimate_calibration_error(said, truth, bins=2)
    assert found.value == pytest.approx((0.3 * 2 + 0.2 * 2) / 4)
    # Of 2 and of 2 rows 1 and 2 happened; with one more of each kind that is 2 of 4 and 3 of 4.
    one, other = math.sqrt(2 * 0.25) / 4, math.sqrt(2 * 0.1875) / 4
    assert found.high == pytest.approx(0.25 + metrics.NORMAL_95 * math.hypot(one, other))
    assert found.low == 0.0


def test_a_bootstrap_has_one_seed_and_holds_the_value():
    score, truth = world()
    said = 1 / (1 + np.exp(-score))
    once, again = (metrics.estimate_brier_score(said, truth, seed=9) for _ in range(2))
    assert once == again
    assert once != metrics.estimate_brier_score(said, truth, seed=10)
    assert once.low < once.value < once.high


def test_a_share_has_wilsons_interval():
    found = metrics.wilson_interval(8, 10)
    assert (round(found.low, 4), round(found.high, 4)) == (0.4902, 0.9433)
    assert metrics.wilson_interval(0, 0).high == 1.0


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
        found = metrics.estimate_calibration_error(true + shift, chance.random(2000) < true, bins=10)
        covered += found.low <= shift <= found.high
        assert found.low <= found.value <= found.high
    assert covered >= 0.95 * tried


def test_a_bad_calibration_is_not_put_down_to_chance():
    chance = np.random.default_rng(12)
    true = chance.beta(2, 8, 2000)
    assert metrics.estimate_calibration_error(true + 0.05, chance.random(2000) < true, bins=10).low > 0.02
    # Nothing happened in any bin: that is no certainty.
    none = metrics.estimate_calibration_error(np.full(200, 0.01), np.zeros(200, bool), bins=10)
    assert none.high > none.value

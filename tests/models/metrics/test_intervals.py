import numpy as np
import pytest

from wellspring.models.metrics import intervals


def test_the_bootstrap_covers_a_mean_as_often_as_it_claims():
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        values = rng.normal(1.0, 2.0, 300)
        estimate = intervals.bootstrap_estimate(lambda weights, v=values: float((weights * v).sum() / 300), 300, seed)
        covered += estimate.low <= 1.0 <= estimate.high
    assert covered >= 85


def test_a_paired_comparison_sees_a_small_steady_difference():
    rng = np.random.default_rng(3)
    errors = rng.exponential(1.0, 1000)

    def compare(gain: float) -> intervals.PairedComparison:
        difference = gain + 0.01 * rng.normal(size=1000) + 0 * errors
        return intervals.compare_by_bootstrap(lambda weights: float((weights * difference).sum() / 1000), 1000, 1)

    better, worse = compare(0.05), compare(-0.05)
    assert better.difference.low > 0 > worse.difference.high
    assert max(better.p, worse.p) == pytest.approx(2 / 201)
    assert intervals.compare_by_bootstrap(lambda weights: 0.0, 10, 1).p == 1.0

"""95 % intervals of metrics: Wilson's for proportions, and the bootstrap for everything else. Pure functions.

Rows are treated as independent: where one entity has many rows, the true intervals are somewhat wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.records.models import Estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NORMAL_95 = 1.959963984540054
RESAMPLES = 200


class PairedComparison(NamedTuple):
    """One metric of two models on the same rows.

    difference: first minus second, 95 %, with the sign turned where a lower metric is better: above 0, the first model
    is better. z: of DeLong's test; 0 where the bootstrap was used. p: two-sided.
    """

    difference: Estimate
    z: float
    p: float


def wilson_interval(successes: int, rows: int) -> Estimate:
    """Measure a proportion with Wilson's 95 % interval; without rows it is 0 to 1."""
    if rows == 0:
        return Estimate(value=0.0, low=0.0, high=1.0, rows=0)
    p, z2 = successes / rows, NORMAL_95**2
    middle = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    spread = NORMAL_95 * math.sqrt(p * (1 - p) / rows + z2 / (4 * rows * rows)) / (1 + z2 / rows)
    return Estimate(value=p, low=max(0.0, middle - spread), high=min(1.0, middle + spread), rows=rows)


def bootstrap_estimate(measure: Callable[[Array], float], rows: int, seed: int) -> Estimate:
    """Measure once, and RESAMPLES times on resampled rows; the interval is the middle 95 %.

    measure: takes the weight of each row (how often it was drawn).
    """
    import numpy as np

    value = measure(np.ones(rows))
    low, high = np.nanpercentile(_resample(measure, rows, seed), [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high), rows=rows)


def compare_by_bootstrap(measure_difference: Callable[[Array], float], rows: int, seed: int) -> PairedComparison:
    """Compare two models on the same resampled rows.

    measure_difference: as for `bootstrap_estimate`; above 0, the first model is better.
    """
    import numpy as np

    draws = np.asarray(_resample(measure_difference, rows, seed))
    value = measure_difference(np.ones(rows))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    # One is added to both counts, so that a finite number of draws never gives a p of zero.
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = 1.0 if value == 0 else min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return PairedComparison(Estimate(value=value, low=float(low), high=float(high), rows=rows), 0.0, p)


def _resample(measure: Callable[[Array], float], rows: int, seed: int) -> list[float]:
    import numpy as np

    rng = np.random.default_rng(seed)
    return [measure(rng.multinomial(rows, np.full(rows, 1 / rows)).astype(float)) for _ in range(RESAMPLES)]

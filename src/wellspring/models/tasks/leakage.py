"""Screen one feature for target leakage where an AUC does not apply: by the rows that share its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MIN_ROWS = 200
"""With fewer rows a single feature is not screened."""
BINS = 200


def assign_value_groups(values: Array, *, categorical: bool) -> Array:
    """Number the rows by value: a category, or a quantile bin; missing values are a group of their own."""
    import numpy as np

    present = np.isfinite(values)
    groups = np.zeros(len(values), dtype=int)
    if not present.any():
        return groups
    if categorical:
        groups[present] = values[present].astype(int) + 1
    else:
        edges = np.unique(np.quantile(values[present], np.linspace(0, 1, BINS + 1)[1:-1]))
        groups[present] = np.searchsorted(edges, values[present], side="right") + 1
    return groups


def split_halves(rows: int) -> Array:
    """Return which rows are in the first half; figures come from one half and are scored on the other."""
    import numpy as np

    return np.arange(rows) % 2 == 0

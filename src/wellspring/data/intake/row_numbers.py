"""Find the rows of a batch among selected row numbers of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


def mark_selected(numbers: pl.Series, selected: np.ndarray[Any, Any]) -> pl.Series:
    """Mark the row numbers of a batch that are selected. selected: ascending.

    The time depends on the batch, not on the selection, which can have as many rows as the file.
    """
    import numpy as np
    import polars as pl

    if not len(selected):
        return pl.repeat(False, len(numbers), dtype=pl.Boolean, eager=True)
    batch = numbers.to_numpy()
    positions = np.minimum(np.searchsorted(selected, batch), len(selected) - 1)
    return pl.Series(values=selected[positions] == batch)

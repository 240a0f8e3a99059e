"""Counting of rows that repeat a key, over rows that are read batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_CONFIRMED_HASHES = 1 << 20
"""Above this number of repeated hashes their rows are not read again: memory for them would not be bounded."""


class DuplicateCounter:
    """Counts rows that repeat the values of an earlier row in some columns; rows with a null are ignored.

    It keeps 8 bytes per row: a hash of the values. Equal hashes are confirmed by reading those rows again.
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = list(columns)
        self._hashes: list[np.ndarray] = []

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self._hashes.append(_hash_keys(self._complete_rows(batch)))

    def count_duplicates(self, read_rows: Callable[[], pa.RecordBatchReader]) -> int:
        """Count the repeated rows. read_rows: reads the same rows again."""
        import numpy as np
        import pyarrow as pa

        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.uint64)
        hashes.sort()
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        candidates = np.unique(repeated)
        if not len(candidates) or len(candidates) > MAX_CONFIRMED_HASHES:
            return len(repeated)
        matching: list[pa.RecordBatch] = []
        for batch in read_rows():
            complete_rows = self._complete_rows(batch)
            matching.append(complete_rows.filter(pa.array(np.isin(_hash_keys(complete_rows), candidates))))
        rows = pa.Table.from_batches(matching)
        return rows.num_rows - rows.group_by(self._columns).aggregate([]).num_rows

    def _complete_rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.select(self._columns)
        return rows.drop_null() if any(column.null_count for column in rows.columns) else rows


def _hash_keys(rows: pa.RecordBatch) -> np.ndarray:
    import polars as pl

    return cast("pl.DataFrame", pl.from_arrow(rows)).hash_rows(seed=0).to_numpy()

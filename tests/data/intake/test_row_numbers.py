"""Row numbers of a batch among selected ones."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from wellspring.data.intake.row_numbers import mark_selected

NUMBERS = st.lists(st.integers(min_value=1, max_value=40), unique=True)


@given(batch=NUMBERS, selected=NUMBERS)
def test_exactly_the_selected_rows_of_a_batch_are_marked(batch: list[int], selected: list[int]):
    marks = mark_selected(pl.Series(batch, dtype=pl.Int64), np.array(sorted(selected), np.int64))
    assert marks.dtype == pl.Boolean
    assert marks.to_list() == [number in selected for number in batch]

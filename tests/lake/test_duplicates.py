"""Rows that repeat a key are counted exactly, over batches, with a hash per row in memory."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.lake import duplicates
from wellspring.lake.duplicates import DuplicateCounter

KEYS = st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.integers(0, 2)), max_size=30)


def count(table: pa.Table, columns: tuple[str, ...]) -> int:
    counter = DuplicateCounter(columns)
    for batch in table.to_reader(max_chunksize=3):
        counter.update(batch)
    return counter.count_duplicates(lambda: table.to_reader(max_chunksize=3))


@given(KEYS)
def test_the_count_equals_that_of_a_set_of_the_keys(keys: list[tuple[str | None, int]]):
    table = pa.table(
        {
            "text": pa.array([text for text, _ in keys], pa.string()),
            "number": pa.array([n for _, n in keys], pa.int64()),
        }
    )
    complete = [key for key in keys if key[0] is not None]
    assert count(table, ("text", "number")) == len(complete) - len(set(complete))


@pytest.mark.parametrize(("limit", "expected"), [(10, 1), (0, 5)])
def test_equal_hashes_of_other_keys_are_no_duplicates(monkeypatch: pytest.MonkeyPatch, limit: int, expected: int):
    monkeypatch.setattr(duplicates, "_hash_keys", lambda rows: np.zeros(rows.num_rows, np.uint64))
    monkeypatch.setattr(duplicates, "MAX_CONFIRMED_HASHES", limit)
    assert count(pa.table({"key": ["a", "b", "c", "d", "d", "e"]}), ("key",)) == expected

"""Rows of one file with a common key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.contracts import column, contract
from wellspring.data.intake.duplicates import RepeatedRows, TypedRows, find_repeated_rows, list_keys
from wellspring.records.contracts import DataContract

KEYED = contract(column("id"), column("value", "int64"), key=("id",))


def repeated(by: DataContract, rows: Sequence[tuple[Any, ...]], *, batch: int = 2) -> RepeatedRows:
    names = [item.name for item in by.columns]

    def read(columns: Sequence[str]) -> Iterator[TypedRows]:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            schema = {name: pl.Int64 if name in ("value", "recorded_at") else pl.String for name in names}
            frame = pl.DataFrame(part, schema=schema, orient="row").select(columns)
            numbers = pl.Series(range(start + 1, start + len(part) + 1), dtype=pl.Int64)
            yield TypedRows(frame, numbers, pl.Series([True] * len(part)), pl.Series([False] * len(part)))

    return find_repeated_rows(by, read)


def test_a_file_without_repeated_keys_is_read_once():
    reads: list[Sequence[str]] = []

    def read(columns: Sequence[str]) -> Iterator[TypedRows]:
        reads.append(columns)
        every, none = pl.Series([True, True]), pl.Series([False, False])
        yield TypedRows(pl.DataFrame({"id": ["a", "b"]}), pl.Series([1, 2]), every, none)

    assert find_repeated_rows(KEYED, read).copies.tolist() == []
    assert reads == [["id"]]


def test_the_key_of_a_contract_comes_before_its_unique_columns():
    by = contract(column("id", unique=True), column("a", unique=True), column("b"), key=("id",))
    assert list_keys(by) == [("id",), ("a",)]


def test_rows_that_cannot_be_read_are_not_compared():
    frame = pl.DataFrame({"id": ["a", "a"], "value": [1, 2]})
    rows = TypedRows(frame, pl.Series([1, 2]), pl.Series([True, False]), pl.Series([False, True]))
    assert find_repeated_rows(KEYED, lambda names: [rows._replace(frame=frame.select(names))]).contradictions == {}


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_copies_and_contradictions_do_not_depend_on_batches(batch: int):
    rows = [("a", 1), ("b", 1), ("a", 1), (None, 1), ("b", 2), (None, 1), ("c", 3)]
    result = repeated(KEYED, rows, batch=batch)
    assert result.copies.tolist() == [3]
    assert {key: numbers.tolist() for key, numbers in result.contradictions.items()} == {("id",): [2, 5]}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=8))
def test_of_each_key_one_value_is_left_or_all_wait(rows: list[tuple[str, int]]):
    result = repeated(KEYED, rows, batch=3)
    out = set(result.copies.tolist()) | {n for numbers in result.contradictions.values() for n in numbers.tolist()}
    for key in "ab":
        values = {value for name, value in rows if name == key}
        remaining = [n for n, (name, _) in enumerate(rows, start=1) if name == key and n not in out]
        assert len(remaining) == (1 if len(values) == 1 else 0)


def test_a_row_with_a_value_without_its_type_is_no_copy():
    frame = pl.DataFrame(
        {"id": ["a", "a", "b", "b"], "value": [None, None, 1, None]}, schema_overrides={"value": pl.Int64}
    )
    misfits = pl.Series([True, True, False, False])
    rows = TypedRows(frame, pl.Series([1, 2, 3, 4]), pl.Series([True] * 4), misfits)
    result = find_repeated_rows(KEYED, lambda names: [rows._replace(frame=frame.select(names))])
    assert result.copies.tolist() == []
    assert result.contradictions[("id",)].tolist() == [1, 2, 3, 4]


def test_a_year_and_a_prefix_are_compared_as_they_leave():
    by = contract(column("id"), column("born", "date32[day]", "year"), column("zip", egress="prefix(3)"), key=("id",))
    frame = pl.DataFrame(
        {
            "id": ["a", "a", "b", "b"],
            "born": [date(2001, 2, 3), date(2001, 4, 5), date(2001, 1, 1), date(2002, 1, 1)],
            "zip": ["12345", "12399", "12345", "12345"],
        }
    )
    rows = TypedRows(frame, pl.Series([1, 2, 3, 4]), pl.Series([True] * 4), pl.Series([False] * 4))
    result = find_repeated_rows(by, lambda names: [rows._replace(frame=frame.select(names))])
    assert result.copies.tolist() == [2]
    assert result.contradictions[("id",)].tolist() == [3, 4]

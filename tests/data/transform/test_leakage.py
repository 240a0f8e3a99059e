"""A column that knew the future differs from itself as built from the past."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.builders import dbt_projects as built
from wellspring.data.transform.leakage import LeakageReport, compare_past
from wellspring.records.record import format_instant

CUT = built.FIRST + timedelta(days=2)


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    schema = pa.schema(
        {
            "person": pa.string(),
            "known_since": pa.timestamp("us", "UTC"),
            "sequence": pa.int64(),
            "count": pa.int64(),
            "share": pa.float64(),
            "code": pa.string(),
        }
    )
    return built.written(pa.Table.from_pylist(rows, schema), folder / name)


def row(day: int, **values: Any) -> dict[str, Any]:
    expected = built.FIRST + timedelta(days=day)
    return {"person": "a", "known_since": expected, "sequence": day, "count": 1, "share": 0.5, "code": "x", **values}


def compared(folder: Path, whole: list[dict[str, Any]], past: list[dict[str, Any]]) -> LeakageReport:
    files = written(folder, "whole.parquet", whole), written(folder, "past.parquet", past)
    return compare_past(*files, audit_instant=format_instant(CUT), keys=("person",))


def between(folder: Path, whole: list[dict[str, Any]], past: list[dict[str, Any]]) -> list[str]:
    return compared(folder, whole, past).leaks


def test_it_says_how_many_rows_were_compared(tmp_path: Path):
    past = [row(0), row(1)]
    assert compared(tmp_path, [*past, row(2), row(3)], [*past, row(2)]) == ([], 3)
    assert compared(tmp_path, [row(3), row(4)], []) == ([], 0)


def test_a_history_that_holds_what_was_known_does_not_leak(tmp_path: Path):
    past = [row(0), row(1, count=None, code=None, share=None), row(2)]
    assert between(tmp_path, [*past, row(3, count=9)], past) == []


def test_each_column_that_differs_is_named(tmp_path: Path):
    past = [row(0), row(1, share=None), row(2)]
    whole = [row(0, count=2), row(1), row(2, code=None), row(3)]
    assert between(tmp_path, whole, past) == ["code", "count", "share"]


def test_a_row_that_came_or_went_is_a_leak_of_when_it_was_known(tmp_path: Path):
    assert between(tmp_path, [row(0), row(1)], [row(0)]) == ["known_since"]
    assert between(tmp_path, [row(0)], [row(0), row(2)]) == ["known_since"]


def test_a_sequence_that_counts_later_rows_is_a_leak(tmp_path: Path):
    assert between(tmp_path, [row(0, sequence=2), row(1, sequence=1)], [row(0, sequence=1)]) == [
        "known_since",
        "sequence",
    ]
    assert between(tmp_path, [row(0, sequence=5)], [row(0, sequence=1)]) == ["sequence"]


def test_the_last_bits_of_a_sum_are_no_leak_and_a_little_more_is(tmp_path: Path):
    assert between(tmp_path, [row(0, share=0.1 + 0.2)], [row(0, share=0.3)]) == []
    assert between(tmp_path, [row(0, share=0.300001)], [row(0, share=0.3)]) == ["share"]


def test_two_rows_known_at_once_are_held_against_their_own(tmp_path: Path):
    both = [row(1, sequence=1, count=1), row(1, sequence=2, count=2)]
    assert between(tmp_path, both, both[::-1]) == []

"""A value with line ends is a value, unless one of its lines is a row of the file."""

from __future__ import annotations

import pytest

from tests.builders.contracts import column, contract
from wellspring.data.formats.csv.embedded import SwallowedRowCheck
from wellspring.data.formats.csv.records import CsvRecord
from wellspring.data.formats.csv.rows import build_rows
from wellspring.records.contracts import DataContract


def mark(value: str, declared: DataContract, names: list[str]) -> tuple[str | None, int]:
    """Return the fault of a row with this value, and the counted values."""
    check = SwallowedRowCheck(names, declared, ",")
    records = [CsvRecord([b"x"] * (len(names) - 1) + [value.encode()], 0)]
    rows = check.mark_rows(build_rows(records, len(names), ","))
    return rows.faults[0].as_py(), check.embedded_count


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int64", "-17"), ("float64", "1e3"), ("decimal128(12, 2)", "1.50"), ("bool", "True"),
        ("date32[day]", "2026-01-02"), ("timestamp[us, tz=UTC]", "2026-01-02 03:04:05Z"),
    ],
)  # fmt: skip
def test_a_line_that_fits_the_types_is_a_row(kind: str, text: str):
    typed = contract(column("value", kind), column("note"))
    assert mark(f"a\n{text},b", typed, ["value", "note"]) == ("fields", 0)
    assert mark(f"a\nx{text},b", typed, ["value", "note"]) == (None, 1)
    assert mark(f"a\n{text},b", typed, ["value", "more", "note"]) == (None, 1)


def test_an_empty_field_fits_where_no_value_is_required():
    optional = contract(column("value", "int64"), column("other", "int64"), column("note"))
    names = ["value", "other", "note"]
    assert mark("a\n1,,b", optional, names) == ("fields", 0)
    assert mark("a\n,,b", optional, names) == (None, 1)
    required = contract(column("value", "int64"), column("other", "int64", required=True), column("note"))
    assert mark("a\n1,,b", required, names) == (None, 1)


def test_free_text_alone_shows_no_row():
    assert mark("a\nb,c", contract(column("id"), column("note")), ["id", "note"]) == (None, 1)


def test_a_value_without_line_ends_is_not_counted():
    assert mark("1,b", contract(column("id", "int64"), column("note")), ["id", "note"]) == (None, 0)

"""Text is cast strictly: a value of another type is marked, never adjusted."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from wellspring.data.contracts import casting

AMOUNT = "decimal128(12, 2)"
INSTANT = "timestamp[us, tz=UTC]"


def read(declared: str, *texts: str | None) -> list[Any]:
    """Cast texts as they are; a value that was marked as of another type becomes `...`."""
    cast = casting.cast_column(pa.chunked_array([pa.array(texts, pa.string())]), declared, steps=())
    values, bad = cast.values, cast.invalid
    assert [value for value, error in zip(values, bad, strict=True) if error and value is not None] == []
    return [... if error else value for value, error in zip(values.to_list(), bad.to_list(), strict=True)]


@pytest.mark.parametrize(
    ("declared", "good"),
    [
        ("string", {"": "", " a ": " a ", "007": "007"}),
        ("int64", {"1": 1, "-7": -7, "+3": 3, "007": 7, "9223372036854775807": 2**63 - 1}),
        ("float64", {"1": 1.0, "-.5": -0.5, "1e3": 1000.0, "1.25E-2": 0.0125}),
        (AMOUNT, {"1": Decimal(1), "1.5": Decimal("1.5"), "-0.05": Decimal("-0.05"),
                "0009999999999.99": Decimal("9999999999.99")}),
        ("bool", {"true": True, "F": False, "Yes": True, "n": False, "1": True, "0": False}),
        ("date32[day]", {"2024-02-29": date(2024, 2, 29), "1900-01-01": date(1900, 1, 1)}),
        (INSTANT, {
            "2024-01-02T03:04:05Z": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
            "2024-01-02 03:04:05.123456": datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=UTC),
            "2024-01-02T03:04:05+02:00": datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC),
            "2024-01-02T03:04:05-0500": datetime(2024, 1, 2, 8, 4, 5, tzinfo=UTC),
        }),
    ],
)  # fmt: skip
def test_value_of_the_type_is_cast(declared: str, good: dict[str, Any]):
    assert read(declared, *good, None) == [*good.values(), None]


@pytest.mark.parametrize(
    ("declared", "bad"),
    [
        ("int64", [" 1", "1 ", "1.0", "1e3", "1_000", "1,000", "0x1", "\uff11", "9223372036854775808", "one", "-"]),
        ("float64", ["nan", "inf", "-inf", "1e999", "1_0", " 1", "1,5", "\uff11", "."]),
        (AMOUNT, ["1.005", "12345678901", "1e3", "$1", "1,000.00", " 1", "1.", "nan", "--1", ""]),
        ("decimal128(5, 0)", ["1.0", "123456"]),
        ("bool", ["2", "ja", " true", "truee"]),
        ("date32[day]", ["2024-2-3", "2023-02-29", "2024-13-01", "02/03/2024", "20240203", " 2024-02-03",
                "2024-02-03T00:00:00"]),
        (INSTANT, ["2024-01-02", "2024-01-02T03:04", "2024-01-02T25:04:05Z", "2024-01-02T03:04:05.1234567Z",
                "yesterday"]),
    ],
)  # fmt: skip
def test_value_of_another_type_is_marked(declared: str, bad: list[str]):
    assert read(declared, *bad) == [...] * len(bad)


@pytest.mark.parametrize("declared", ["string", "int64", "float64", AMOUNT, "bool", "date32[day]", INSTANT])
def test_null_and_empty_columns_are_cast(declared: str):
    assert read(declared, None, None) == [None, None]
    assert read(declared) == []
    typed = pa.chunked_array([pa.nulls(2, casting.arrow_type(declared))])
    assert casting.cast_column(typed, declared).values.to_list() == [None, None]


def test_typed_values_stay_and_non_finite_floats_are_marked():
    column = pa.chunked_array([[1.5, float("nan"), None, float("inf")]])
    cast = casting.cast_column(column, "float64")
    assert (cast.values.to_list(), cast.invalid.to_list()) == ([1.5, None, None, None], [False, True, False, True])


def test_any_column_can_be_searched_as_text():
    result = casting.to_text(pa.chunked_array([[900123456, None]]))
    assert result is not None
    assert result.to_list() == ["900123456", None]
    nested = casting.to_text(pa.chunked_array([[[{"ssn": "536-90-4399"}], None]]))
    assert nested is not None
    assert nested.to_list() == ["[{'ssn': '536-90-4399'}]", None]
    for kind in (pa.binary(), pa.large_binary(), pa.binary(2), pa.binary_view()):
        text_values = casting.to_text(pa.chunked_array([pa.array([b"ab"], kind)]))
        assert text_values is not None
        assert text_values.to_list() == ["ab"]
        assert casting.to_text(pa.chunked_array([pa.array([b"\xff\xfe"], kind)])) is None


def test_bound_has_the_type_of_its_column():
    assert casting.parse_bound(5.1, AMOUNT) == Decimal("5.1")
    assert casting.parse_bound("2024-01-02", "date32[day]") == date(2024, 1, 2)
    assert casting.parse_bound("2024-01-02T00:00:00", INSTANT) == datetime(2024, 1, 2, tzinfo=UTC)
    local = casting.parse_bound("2024-01-02T00:00:00", INSTANT, "America/New_York")
    assert local == datetime(2024, 1, 2, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("declared", "values", "minimum", "maximum", "outside"),
    [
        ("int64", [2**53, 2**53 + 1], None, 2**53, [False, True]),
        ("int64", [-(2**63), 2**63 - 1], -(10**30), 10**30, [False, False]),
        ("int64", [0, 1, None], 0.5, None, [True, False, False]),
        ("decimal128(38, 2)", [Decimal(2**53), Decimal(2**53 + 1)], None, 2**53, [False, True]),
        ("decimal128(4, 2)", [Decimal("0.10"), Decimal("0.11"), Decimal("-0.01")], 0, 0.1, [False, True, True]),
        ("decimal128(4, 2)", [Decimal("0.10"), Decimal("0.11")], 0.101, 10**40, [True, False]),
        ("float64", [0.1, 0.2, None], 0.1, 0.15, [False, True, False]),
    ],
)
def test_bounds_are_compared_exactly(
    declared: str, values: list[Any], minimum: float | None, maximum: float | None, outside: list[bool]
):
    column = pl.Series(values=pa.array(values, casting.arrow_type(declared)))
    out_of_range = casting.find_out_of_range(column, declared, minimum=minimum, maximum=maximum)
    assert out_of_range.to_list() == outside


def test_a_local_bound_has_the_time_zone_of_its_column():
    instants = pl.Series([datetime(2026, 1, 1, 4, 59, tzinfo=UTC), datetime(2026, 1, 1, 5, tzinfo=UTC)])
    out_of_range = casting.find_out_of_range(
        instants, INSTANT, minimum="2026-01-01T00:00:00", maximum=None, timezone="America/New_York"
    )
    assert out_of_range.to_list() == [True, False]


def test_a_second_that_does_not_exist_is_marked():
    texts = ["2026-05-05T10:10:60Z", "2026-12-31T23:59:60Z", "2026-05-05T10:10:60.5+00:00", "2026-05-05 10:10:60"]
    assert read(INSTANT, *texts) == [...] * len(texts)


def test_a_text_that_would_become_another_float_is_marked():
    texts = ["9007199254740993", "9007199254740993.0", "-9007199254740993", "1e-400", "0.001e-400"]
    assert read("float64", *texts) == [...] * len(texts)
    exact = ["9007199254740992", "0.1", "0", "-0.0", "0e5", "1e-300", "123456789012345678901234567890.5"]
    assert ... not in read("float64", *exact)


@pytest.mark.parametrize(
    ("declared", "texts"),
    [
        (INSTANT, ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00", "0000-06-01T00:00:00Z"]),
        ("date32[day]", ["0000-12-31", "0000-01-01"]),
    ],
)
def test_a_date_or_instant_that_leaves_the_calendar_is_marked(declared: str, texts: list[str]):
    assert read(declared, *texts) == [...] * len(texts)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_typed_instant_that_leaves_the_calendar_is_marked(unit: str):
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    column = pa.chunked_array([pa.array([253_402_318_800 * per_second, 0], pa.timestamp(unit, "UTC"))])
    cast = casting.cast_column(column, INSTANT)
    assert cast.values.to_list() == [None, datetime(1970, 1, 1, tzinfo=UTC)]
    assert cast.invalid.to_list() == [True, False]


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_an_instant_that_microseconds_cannot_hold_is_marked(unit: str, zone: str | None):
    column = pa.chunked_array([pa.array([2**62, -(2**62), 0, None], pa.timestamp(unit, zone))])
    cast = casting.cast_column(column, INSTANT)
    assert cast.invalid.to_list() == [True, True, False, False]
    assert cast.values.to_list() == [None, None, datetime(1970, 1, 1, tzinfo=UTC), None]


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_nanoseconds_are_cast_unless_they_would_be_cut(zone: str | None):
    column = pa.chunked_array([pa.array([1_000, 1_001, None], pa.timestamp("ns", zone))])
    cast = casting.cast_column(column, INSTANT)
    assert cast.values.to_list() == [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), None, None]
    assert cast.invalid.to_list() == [False, True, False]


def test_blank_text_is_missing_and_values_are_trimmed_by_default():
    column = pa.chunked_array([["  ", "\u00a0", " 17 ", ""]])
    assert casting.cast_column(column, "int64").values.to_list() == [None, None, 17, None]
    assert not casting.cast_column(column, "int64").invalid.any()


LOCAL_TIMES = ["2024-03-10T02:30:00", "2024-11-03T01:30:00", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z"]


@pytest.mark.parametrize("typed", [False, True])
def test_a_local_time_is_read_in_the_zone_of_the_contract(typed: bool):
    texts = pa.array([text.removesuffix("Z") for text in LOCAL_TIMES[:3]])
    column = pa.chunked_array([texts.cast(pa.timestamp("us")) if typed else pa.array(LOCAL_TIMES[:3])])
    cast = casting.cast_column(column, INSTANT, timezone="America/New_York")
    assert cast.values.to_list() == [None, None, datetime(2024, 1, 1, 5, tzinfo=UTC)]
    assert {code: mask.to_list() for code, mask in cast.faults} == {
        "type": [False, False, False],
        "local_time": [True, True, False],
    }
    assert cast.zoneless == 0


def test_times_without_a_zone_are_counted_when_the_contract_names_none():
    cast = casting.cast_column(pa.chunked_array([[*LOCAL_TIMES, "noon", None]]), INSTANT)
    assert cast.zoneless == 3
    assert cast.values.to_list()[3] == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "zoneless"),
    [
        (pa.array(["2026-01-01T00:00:00", "2026-01-01T00:00:00Z", "noon", None]), [True, False, False, False]),
        (pa.array([datetime(2026, 1, 1), None], pa.timestamp("us")), [True, False]),
        (pa.array([datetime(2026, 1, 1), None], pa.timestamp("us", "UTC")), [False, False]),
    ],
)
def test_a_time_that_must_name_its_zone_and_does_not_is_a_fault(column: pa.Array, zoneless: list[bool]):
    cast = casting.cast_column(pa.chunked_array([column]), INSTANT, zone_required=True)
    mask = dict(cast.faults).get("time_zone")
    assert (mask.to_list() if mask is not None else [False] * len(column)) == zoneless
    assert not any(value is not None and missing for value, missing in zip(cast.values, zoneless, strict=True))

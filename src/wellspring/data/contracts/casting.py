"""Cast whole columns of raw values to declared types and mark the values that do not fit."""

from __future__ import annotations

import decimal
import functools
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from wellspring.data.contracts.normalization import DEFAULT_STEPS, normalize_texts

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_FIRST_DAY, _LAST_DAY = date.min, date.max
_FIRST_INSTANT, _LAST_INSTANT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MAX_SECONDS = 400_000_000_000
"""More seconds since 1970 than any date in the years 1 to 9999 has."""
_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


class CastColumn(NamedTuple):
    """A column cast to its declared type. faults: reason code and mask of the values that do not fit; they are null.

    zoneless: number of times without a zone that were read as UTC, because the contract names no other zone.
    """

    values: pl.Series
    faults: tuple[tuple[str, pl.Series], ...]
    zoneless: int = 0

    @property
    def invalid(self) -> pl.Series:
        """Mark the values that do not fit."""
        return functools.reduce(lambda left, right: left | right, [mask for _, mask in self.faults])


def cast_column(
    column: pa.ChunkedArray,
    declared_type: str,
    *,
    steps: Sequence[str] = DEFAULT_STEPS,
    timezone: str | None = None,
    zone_required: bool = False,
) -> CastColumn:
    """Cast a column to a declared type.

    Text is normalized (`normalization.py`) and parsed strictly: numbers in plain digits, no more decimals than
    declared, finite floats, dates as 2020-01-31, timestamps in ISO 8601, booleans as true/false, t/f, yes/no, y/n or
    1/0 in any case. steps: of the normalization. timezone: of times that name none (default: UTC). A time that does not
    exist in it, or that occurs twice, has the fault `local_time`. With zone_required, one that names no zone has the
    fault `time_zone`. Every other value that does not fit has the fault `type`: also a date or an instant outside the
    years 1 to 9999 (in UTC), and a time with digits below a microsecond.
    """
    import polars as pl
    import pyarrow as pa

    decoded = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if decoded.type in (pa.string(), pa.large_string(), pa.string_view()):
        text = normalize_texts(pl.Series(values=decoded).cast(pl.String), steps)
        if declared_type.startswith("timestamp"):
            return _bound_years(_cast_instants(text, timezone, zone_required=zone_required), declared_type)
        values = _cast_text(text, declared_type)
        return _bound_years(CastColumn(values, (("type", values.is_null() & text.is_not_null()),)), declared_type)
    if declared_type.startswith("timestamp"):
        return _bound_years(_cast_arrow_instants(decoded, timezone, zone_required=zone_required), declared_type)
    values = pl.Series(values=decoded.cast(arrow_type(declared_type)))
    mismatched = ~values.is_finite().fill_null(True) if declared_type == "float64" else values.is_null() & False
    values = values.set(mismatched, None) if mismatched.any() else values
    return _bound_years(CastColumn(values, (("type", mismatched),)), declared_type)


def arrow_type(declared_type: str) -> pa.DataType:
    """Return the Arrow type of a declared type."""
    import pyarrow as pa

    if declared_type.startswith("decimal128"):
        return pa.decimal128(*_decimal_size(declared_type))
    return {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "date32[day]": pa.date32(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
    }[declared_type]


def parse_bound(value: float | str, declared_type: str, timezone: str | None = None) -> Decimal | date | datetime:
    """Parse a minimum or a maximum of a declared type. timezone: of an instant that names none (default: UTC)."""
    if not isinstance(value, str):
        return Decimal(str(value))
    if declared_type.startswith("date"):
        return date.fromisoformat(value)
    instant = datetime.fromisoformat(value)
    return (instant if instant.tzinfo else instant.replace(tzinfo=ZoneInfo(timezone or "UTC"))).astimezone(UTC)


def find_out_of_range(
    values: pl.Series,
    declared_type: str,
    *,
    minimum: float | str | None,
    maximum: float | str | None,
    timezone: str | None = None,
) -> pl.Series:
    """Mark the values below the minimum or above the maximum; numbers are compared exactly."""
    import polars as pl

    outside = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    for limit, is_minimum in ((minimum, True), (maximum, False)):
        if limit is None:
            continue
        bound: Any = parse_bound(limit, declared_type, timezone)
        compared = values
        if isinstance(bound, Decimal):
            compared, bound = _align_bound(values, bound, declared_type, is_minimum=is_minimum)
        outside = outside | (compared < bound if is_minimum else compared > bound).fill_null(False)
    return outside


def _align_bound(
    values: pl.Series, bound: Decimal, declared_type: str, *, is_minimum: bool
) -> tuple[pl.Series, pl.Series | float]:
    """Return values and a bound that compare exactly: a decimal or an integer bound is rounded to the next value."""
    import polars as pl

    if declared_type == "float64":
        return values, float(bound)
    scale = _decimal_size(declared_type)[1] if declared_type.startswith("decimal") else 0
    rounding = decimal.ROUND_CEILING if is_minimum else decimal.ROUND_FLOOR
    with decimal.localcontext(prec=400):
        rounded = bound.quantize(Decimal(1).scaleb(-scale), rounding=rounding)
        limit = Decimal(10) ** (38 - scale) - Decimal(1).scaleb(-scale)
        clamped = max(-limit, min(limit, rounded))
    exact = pl.Decimal(38, scale)
    return values.cast(exact), pl.Series([clamped], dtype=exact)


def to_text(column: pa.ChunkedArray) -> pl.Series | None:
    """Cast a column to text, for a search for personal data: nested values as Python writes them, bytes as UTF-8.

    None for bytes that are not UTF-8, and for a type that has no text.
    """
    import polars as pl
    import pyarrow as pa

    try:
        if pa.types.is_nested(column.type):
            values = (None if value is None else str(value) for value in column.to_pylist())
            return pl.Series(list(values), dtype=pl.String)
        if pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.large_binary())
        return pl.Series(values=column.cast(pa.large_string()))
    except (pa.ArrowException, ArithmeticError, ValueError):
        return None


def _cast_text(text: pl.Series, declared_type: str) -> pl.Series:
    import polars as pl

    match declared_type.partition("[")[0].partition("(")[0]:
        case "string":
            return text
        case "int64":
            return _keep_matching(text, r"^[+-]?[0-9]{1,19}$").cast(pl.Int64, strict=False)
        case "float64":
            values = _keep_matching(text, r"^[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?$").cast(
                pl.Float64, strict=False
            )
            values = values.set(~values.is_finite().fill_null(True), None)
            return values.set(_is_changed(text, values), None)
        case "decimal128":
            precision, scale = _decimal_size(declared_type)
            integer_digits = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0?"
            decimals = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
            return _keep_matching(text, f"^[+-]?0*{integer_digits}{decimals}$").cast(
                pl.Decimal(precision, scale), strict=False
            )
        case "bool":
            lowered = text.str.to_lowercase()
            is_boolean = lowered.is_in(pl.Series(_TRUE + _FALSE).implode())
            return lowered.is_in(pl.Series(_TRUE).implode()).set(~is_boolean.fill_null(False), None)
        case _:
            return _keep_matching(text, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$").str.to_date("%Y-%m-%d", strict=False)


def _is_changed(text: pl.Series, values: pl.Series) -> pl.Series:
    """Mark the floats that are another number than their text: an integer that has no exact float; a vanished one."""
    import polars as pl

    vanished = (values == 0).fill_null(False) & text.str.contains(r"^[^eE]*[1-9]").fill_null(False)
    # An integer of up to 15 digits is exact.
    long = text.str.contains(r"^[+-]?0*[1-9][0-9]{15,}(\.0*)?$").fill_null(False) & values.is_not_null()
    pairs = zip(text.filter(long).to_list(), values.filter(long).to_list(), strict=True)
    inexact = [int(number) != int(digits.partition(".")[0]) for digits, number in pairs]
    return vanished.scatter(long.arg_true(), pl.Series(inexact, dtype=pl.Boolean)) if inexact else vanished


def _keep_matching(text: pl.Series, pattern: str) -> pl.Series:
    """Replace each text that does not match the pattern with null."""
    return text.set(~text.str.contains(pattern).fill_null(True), None)


def _cast_instants(text: pl.Series, timezone: str | None, *, zone_required: bool) -> CastColumn:
    import polars as pl

    shape = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
    shaped = _keep_matching(text, shape).str.replace(" ", "T", literal=True)
    has_zone = shaped.str.contains(r"(Z|[+-][0-9]{2}:?[0-9]{2})$").fill_null(False)
    # Every instant gets a zone, so that one format parses them all.
    zoned = shaped.set(~has_zone, None).fill_null(shaped + "Z")
    values = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    mismatched = values.is_null() & text.is_not_null()
    local = ~has_zone & values.is_not_null()
    if not local.any():
        return CastColumn(values, (("type", mismatched),))
    if zone_required:
        return CastColumn(values.set(local, None), (("type", mismatched), ("time_zone", local)))
    if timezone is None:
        return CastColumn(values, (("type", mismatched),), int(local.sum()))
    placed = _place_local_times(values.filter(local).dt.replace_time_zone(None), timezone)
    values = values.scatter(local.arg_true(), placed.cast(pl.Datetime("us", "UTC")))
    return CastColumn(values, (("type", mismatched), ("local_time", local & values.is_null())))


def _cast_arrow_instants(column: pa.ChunkedArray, timezone: str | None, *, zone_required: bool) -> CastColumn:
    """Cast typed timestamps. A value below microseconds is never cut; a time without a zone is local."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    mismatched = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if column.type.unit in {"s", "ms"}:
        # Microseconds cannot hold what lies far outside the calendar.
        per_second = 1 if column.type.unit == "s" else 1000
        counts = pl.Series(values=column.cast(pa.int64()))
        mismatched = (counts.abs() > _MAX_SECONDS * per_second).fill_null(False)
        column = pc.if_else((~mismatched).to_arrow(), column, pa.scalar(None, column.type))
    if column.type.unit == "ns":
        whole = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
        back = pc.cast(whole, column.type, safe=False)
        mismatched = pl.Series(values=pc.not_equal(back, column)).fill_null(False)
        column = whole
    if column.type.tz is not None:
        values = pl.Series(values=column.cast(pa.timestamp("us", "UTC")))
        values = values.set(mismatched, None) if mismatched.any() else values
        return CastColumn(values, (("type", mismatched),))
    local = pl.Series(values=column.cast(pa.timestamp("us")))
    if zone_required:
        nothing = pl.repeat(None, len(local), dtype=pl.Datetime("us", "UTC"), eager=True)
        return CastColumn(nothing, (("type", mismatched), ("time_zone", local.is_not_null())))
    if timezone is None:
        values = local.dt.replace_time_zone("UTC")
        values = values.set(mismatched, None) if mismatched.any() else values
        return CastColumn(values, (("type", mismatched),), len(local) - local.null_count())
    values = _place_local_times(local, timezone)
    unplaced = local.is_not_null() & values.is_null()
    values = values.set(mismatched, None) if mismatched.any() else values
    return CastColumn(values, (("type", mismatched), ("local_time", unplaced)))


def _place_local_times(local: pl.Series, timezone: str) -> pl.Series:
    """Convert local times to UTC; a time that does not exist, or occurs twice, becomes null."""
    zoned = local.dt.replace_time_zone(timezone, ambiguous="null", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _bound_years(cast: CastColumn, declared_type: str) -> CastColumn:
    """Mark dates and instants that leave the calendar: neither Python nor a query engine can hold them."""
    if not declared_type.startswith(("date", "timestamp")):
        return cast
    low, high = (_FIRST_DAY, _LAST_DAY) if declared_type.startswith("date") else (_FIRST_INSTANT, _LAST_INSTANT)
    outside = ((cast.values < low) | (cast.values > high)).fill_null(False)
    if not outside.any():
        return cast
    faults = tuple((code, mask | outside if code == "type" else mask) for code, mask in cast.faults)
    return cast._replace(values=cast.values.set(outside, None), faults=faults)


def _decimal_size(declared_type: str) -> tuple[int, int]:
    precision, scale = declared_type.removeprefix("decimal128(").removesuffix(")").split(",")
    return int(precision), int(scale)

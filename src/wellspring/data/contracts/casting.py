"""Cast whole columns of raw values to declared types and mark the values that do not fit."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


def cast_column(column: pa.ChunkedArray, declared_type: str) -> tuple[pl.Series, pl.Series]:
    """Cast a column to a declared type. Returns the values and a mask of the values that do not fit (null in values).

    Text is parsed strictly, without trimming: numbers in plain digits, no more decimals than declared, finite floats,
    dates as 2020-01-31, timestamps in ISO 8601 (UTC when they name no zone), booleans as true/false, t/f, yes/no,
    y/n or 1/0 in any case.
    """
    import polars as pl
    import pyarrow as pa

    decoded = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if decoded.type not in (pa.string(), pa.large_string(), pa.string_view()):
        values = pl.Series(values=decoded.cast(arrow_type(declared_type)))
        mismatched = ~values.is_finite().fill_null(True) if declared_type == "float64" else values.is_null() & False
        return (values.set(mismatched, None) if mismatched.any() else values), mismatched
    text = pl.Series(values=decoded).cast(pl.String)
    values = _cast_text(text, declared_type)
    return values, values.is_null() & text.is_not_null()


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


def parse_bound(value: float | str | None, declared_type: str) -> float | date | datetime | None:
    """Parse a minimum or a maximum of a declared type."""
    if value is None or not isinstance(value, str):
        return value
    if declared_type.startswith("date"):
        return date.fromisoformat(value)
    instant = datetime.fromisoformat(value)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def to_text(column: pa.ChunkedArray) -> pl.Series | None:
    """Cast a column to text, for a search for personal data; None for nested and binary types."""
    import polars as pl
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    return pl.Series(values=column.cast(pa.large_string()))


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
            return values.set(~values.is_finite().fill_null(True), None)
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
        case "date32":
            return _keep_matching(text, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$").str.to_date("%Y-%m-%d", strict=False)
        case _:
            return _parse_instants(text)


def _keep_matching(text: pl.Series, pattern: str) -> pl.Series:
    """Replace each text that does not match the pattern with null."""
    return text.set(~text.str.contains(pattern).fill_null(True), None)


def _parse_instants(text: pl.Series) -> pl.Series:
    shape = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
    normalized = _keep_matching(text, shape).str.replace(" ", "T", literal=True)
    # Every instant gets a zone, so that one format parses them all.
    normalized = normalized.set(
        ~normalized.str.contains(r"(Z|[+-][0-9]{2}:?[0-9]{2})$").fill_null(True), None
    ).fill_null(normalized + "Z")
    return normalized.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)


def _decimal_size(declared_type: str) -> tuple[int, int]:
    precision, scale = declared_type.removeprefix("decimal128(").removesuffix(")").split(",")
    return int(precision), int(scale)

"""Values as they were found -> values of a declared type, a whole column at a time; what does not fit is marked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


def read(column: pa.ChunkedArray, declared: str) -> tuple[pl.Series, pl.Series]:
    """Read a column: its values in the declared type, and which of its values are of another type (then null).

    Text is read strictly, without trimming: numbers in plain digits, no more decimals than declared, finite floats,
    dates as 2020-01-31, timestamps in ISO 8601 (UTC when they name no zone), booleans as true/false, t/f, yes/no,
    y/n or 1/0 in any case.
    """
    import polars as pl
    import pyarrow as pa

    found = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if found.type not in (pa.string(), pa.large_string(), pa.string_view()):
        values = pl.Series(values=found.cast(arrow(declared)))
        bad = ~values.is_finite().fill_null(True) if declared == "float64" else values.is_null() & False
        return (values.set(bad, None) if bad.any() else values), bad
    text = pl.Series(values=found).cast(pl.String)
    values = _from_text(text, declared)
    return values, values.is_null() & text.is_not_null()


def arrow(declared: str) -> pa.DataType:
    """Turn a declared type into Arrow's."""
    import pyarrow as pa

    if declared.startswith("decimal128"):
        return pa.decimal128(*_size(declared))
    return {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "date32[day]": pa.date32(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
    }[declared]


def bound(end: float | str | None, declared: str) -> float | date | datetime | None:
    """Read a minimum or a maximum of a declared type."""
    if end is None or not isinstance(end, str):
        return end
    if declared.startswith("date"):
        return date.fromisoformat(end)
    instant = datetime.fromisoformat(end)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def as_text(column: pa.ChunkedArray) -> pl.Series | None:
    """Write any column as text, for a search; None for lists, maps and the like."""
    import polars as pl
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    return pl.Series(values=column.cast(pa.large_string()))


def _from_text(text: pl.Series, declared: str) -> pl.Series:
    import polars as pl

    match declared.partition("[")[0].partition("(")[0]:
        case "string":
            return text
        case "int64":
            return _only(text, r"^[+-]?[0-9]{1,19}$").cast(pl.Int64, strict=False)
        case "float64":
            values = _only(text, r"^[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?$").cast(pl.Float64, strict=False)
            return values.set(~values.is_finite().fill_null(True), None)
        case "decimal128":
            precision, scale = _size(declared)
            before = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0?"
            after = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
            return _only(text, f"^[+-]?0*{before}{after}$").cast(pl.Decimal(precision, scale), strict=False)
        case "bool":
            lowered = text.str.to_lowercase()
            either = lowered.is_in(pl.Series(_TRUE + _FALSE).implode())
            return lowered.is_in(pl.Series(_TRUE).implode()).set(~either.fill_null(False), None)
        case "date32":
            return _only(text, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$").str.to_date("%Y-%m-%d", strict=False)
        case _:
            return _instants(text)


def _only(text: pl.Series, pattern: str) -> pl.Series:
    """Keep what has a form, and null the rest."""
    return text.set(~text.str.contains(pattern).fill_null(True), None)


def _instants(text: pl.Series) -> pl.Series:

    shape = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
    even = _only(text, shape).str.replace(" ", "T", literal=True)
    # Every instant gets a zone, so that one format reads them all.
    even = even.set(~even.str.contains(r"(Z|[+-][0-9]{2}:?[0-9]{2})$").fill_null(True), None).fill_null(even + "Z")
    return even.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)


def _size(declared: str) -> tuple[int, int]:
    precision, scale = declared.removeprefix("decimal128(").removesuffix(")").split(",")
    return int(precision), int(scale)

"""Iceberg row filters from the values that are looked for; a scan plan leaves out files whose bounds exclude them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression

    from wellspring.lake.port import ColumnValues


def build_row_filter(values: Mapping[str, ColumnValues]) -> BooleanExpression:
    """Return a filter that each row with these values passes."""
    from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, In, LessThanOrEqual

    row_filter: BooleanExpression = AlwaysTrue()
    # pyright sees the generated constructors of pyiceberg's models, which take no positional arguments.
    for name, column in values.items():
        if column.listed is not None:
            row_filter = And(row_filter, In(name, column.listed))  # pyright: ignore[reportCallIssue]
        else:
            within = And(GreaterThanOrEqual(name, column.minimum), LessThanOrEqual(name, column.maximum))  # pyright: ignore[reportCallIssue]
            row_filter = And(row_filter, within)
    return row_filter

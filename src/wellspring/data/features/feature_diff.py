"""What a change of transform does to features: rows compared by key, and the distribution of each changed feature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from wellspring.records.features import FeatureSpec, FeatureViewSpec
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import pyarrow as pa

QUANTILES = (0.05, 0.5, 0.95)


class Distribution(Frozen):
    """The values of one feature. nulls: rows without a value.

    mean, quantiles (5 %, 50 %, 95 %): of numbers, without NaN. shares: rows by declared category, or by true and false;
    other texts are never listed.
    """

    rows: int
    nulls: int
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    shares: dict[str, int] = {}


class FeatureDiff(Frozen):
    """One feature before and after. changed: rows of entities in both whose value differs, bit by bit.

    before, after: None for a feature that only the other side has.
    """

    feature: str
    changed: int
    before: Distribution | None
    after: Distribution | None


class ViewDiff(Frozen):
    """One view in two versions. rows: entities; compared: in both; features: those that differ."""

    view: str
    before_version: str
    after_version: str
    rows_before: int
    rows_after: int
    compared: int
    features: tuple[FeatureDiff, ...]


class ViewRows(NamedTuple):
    """The newest row of each entity in one version of a view."""

    view: FeatureViewSpec
    rows: pa.Table


def diff_view(before: ViewRows, after: ViewRows) -> ViewDiff:
    """Compare two versions of a view that have the same keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = list(after.view.keys)
    sides = [
        side.rows.select(keys).append_column(name, pa.array(range(side.rows.num_rows), pa.int64()))
        for name, side in (("before", before), ("after", after))
    ]
    joined = sides[0].join(sides[1], keys=keys, join_type="inner")
    names = list(dict.fromkeys(feature.name for side in (after, before) for feature in side.view.features))
    diffs: list[FeatureDiff] = []
    for name in names:
        first, second = before.view.find_feature(name), after.view.find_feature(name)
        changed = joined.num_rows
        if first is not None and second is not None and first.type == second.type:
            values = [
                _bits(side.rows[name]).take(joined[column]) for column, side in (("before", before), ("after", after))
            ]
            equal = pc.if_else(
                pc.or_(pc.is_null(values[0]), pc.is_null(values[1])),
                pc.equal(pc.is_null(values[0]), pc.is_null(values[1])),
                pc.equal(values[0], values[1]),
            )
            changed = joined.num_rows - int(pc.sum(pc.cast(equal, pa.int64())).as_py() or 0)
        if changed or first is None or second is None:
            diffs.append(
                FeatureDiff(
                    feature=name,
                    changed=changed,
                    before=None if first is None else describe_values(first, before.rows),
                    after=None if second is None else describe_values(second, after.rows),
                )
            )
    return ViewDiff(
        view=after.view.name,
        before_version=before.view.version,
        after_version=after.view.version,
        rows_before=before.rows.num_rows,
        rows_after=after.rows.num_rows,
        compared=joined.num_rows,
        features=tuple(diffs),
    )


def describe_values(feature: FeatureSpec, rows: pa.Table) -> Distribution:
    """Describe the values of a feature: numbers by mean and quantiles, categories and booleans by their rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = rows[feature.name]
    nulls, values = column.null_count, column.drop_null()
    if feature.type in {"int64", "float64"}:
        numbers = values.cast(pa.float64())
        numbers = numbers.filter(pc.is_finite(numbers))
        if not len(numbers):
            return Distribution(rows=len(column), nulls=nulls)
        quantiles = [float(value) for value in pc.quantile(numbers, q=list(QUANTILES)).to_pylist()]
        mean = float(pc.mean(numbers).as_py() or 0.0)
        return Distribution(rows=len(column), nulls=nulls, mean=_finite(mean), quantiles=tuple(quantiles))
    listed = {"true", "false"} if feature.type == "bool" else {*feature.categories}
    counts = {str(item["values"]).lower() if feature.type == "bool" else str(item["values"]): item["counts"]
              for item in pc.value_counts(values).to_pylist()}  # fmt: skip
    shares = {name: int(count) for name, count in sorted(counts.items()) if name in listed}
    return Distribution(rows=len(column), nulls=nulls, shares=shares)


def _bits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return floats as integers of the same bits, so that NaN equals NaN and zero differs from negative zero."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type):
        return column
    chunks = [chunk.cast(pa.float64()).view(pa.int64()) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.int64())


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None

"""The operations of a query engine in plain Python, row by row: slow, and short enough to be checked by reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from wellspring.query.port import FLOAT_TOLERANCE, Capabilities, PastComparison, RowCounts, joined_column_name
from wellspring.records.features import FeatureViewSpec
from wellspring.records.tables import TableInput

Row = Mapping[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
TYPES = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "string": pa.string()}


def whole(table: TableInput) -> pa.Table:
    """Return a table in memory."""
    return table if isinstance(table, pa.Table) else table.read_rows()


class ReferenceEngine(NamedTuple):
    """An engine without SQL and without dbt."""

    capabilities: Capabilities = Capabilities("reference", packages=(), reads_files=False)
    dbt: None = None

    def row_counts(self, view: FeatureViewSpec, table: TableInput) -> RowCounts:
        rows = [row for row in read(table) if has_key(view, row)]
        unversioned = sum(row["known_since"] is None or row["sequence"] is None for row in rows)
        versions = {(key_of(view, row), row["known_since"], row["sequence"]) for row in rows}
        return RowCounts(len(rows), unversioned, len(rows) - len(versions))

    def point_in_time_join(
        self,
        spine: pa.Table,
        views: Sequence[FeatureViewSpec],
        tables: Mapping[str, TableInput],
        *,
        instant_column: str,
    ) -> pa.Table:
        columns: dict[str, pa.Array] = {}
        for view in views:
            rows = [row for row in read(tables[view.table]) if has_key(view, row)]
            matches = [latest(view, rows, request, request[instant_column]) for request in spine.to_pylist()]
            for name, kind in version_schema(view).items():
                values = [match.get(name) for match in matches]
                columns[joined_column_name(view.name, name)] = pa.array(values, kind)
        return pa.table(columns)

    def latest_rows(self, view: FeatureViewSpec, table: TableInput) -> pa.Table:
        newest: dict[tuple[Any, ...], Row] = {}
        for row in sorted(filter(lambda row: has_key(view, row), read(table)), key=version_of):
            newest[key_of(view, row)] = row
        schema = pa.schema({**dict.fromkeys(view.keys, pa.string()), **version_schema(view)})
        return pa.Table.from_pylist([dict(newest[key]) for key in sorted(newest)], schema)

    def rows_at_version(self, view: FeatureViewSpec, table: TableInput, versions: pa.Table) -> pa.Table:
        rows = {(key_of(view, row), version_of(row)): row for row in read(table) if has_key(view, row)}
        matches = [
            {**rows[version], "position": request["position"]}
            for request in versions.to_pylist()
            if (version := (key_of(view, request), version_of(request))) in rows
        ]
        schema = {"position": pa.int64(), **{feature.name: TYPES[feature.type] for feature in view.features}}
        return pa.Table.from_pylist(matches, pa.schema(schema))

    def matching_rows(
        self, table: TableInput, keys: TableInput, *, columns: tuple[str, ...], scratch: Path
    ) -> pa.RecordBatchReader:
        names = keys.schema.names
        looked_for = {tuple(row.values()) for row in whole(keys).to_pylist() if None not in row.values()}
        rows = whole(table)
        matches = [tuple(row[name] for name in names) in looked_for for row in rows.to_pylist()]
        return rows.filter(pa.array(matches, pa.bool_())).select(columns).to_reader()

    def compare_past(
        self, full: TableInput, past: TableInput, *, audit_instant: str, keys: tuple[str, ...]
    ) -> PastComparison:
        if missing := sorted(set(full.schema.names) - set(past.schema.names)):
            return PastComparison(missing, 0)
        instant = datetime.fromisoformat(audit_instant)
        full_rows, past_rows = (ranked(read(table), keys, instant) for table in (full, past))
        differing: set[str] = set()
        for key in {*full_rows, *past_rows}:
            if key not in full_rows or key not in past_rows:
                differing.add("known_since")
            else:
                differing |= {
                    name for name in full.schema.names if not is_near(full_rows[key][name], past_rows[key][name])
                }
        return PastComparison(sorted(differing), len({*full_rows, *past_rows}))

    def recording_instants(self, table: TableInput, columns: Sequence[str]) -> list[int]:
        instants = [
            instant for row in read(table) if (instant := first_instant(row[name] for name in columns)) is not None
        ]
        by_day = {instant // (24 * 60 * 60 * 10**6): instant for instant in sorted(instants)}
        return sorted(by_day.values()) if len(by_day) != 1 else sorted(set(instants))


def read(table: TableInput) -> list[Row]:
    return list((table if isinstance(table, pa.Table) else table.read_rows()).to_pylist())


def key_of(view: FeatureViewSpec, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in view.keys)


def has_key(view: FeatureViewSpec, row: Row) -> bool:
    return None not in key_of(view, row)


def version_of(row: Row) -> tuple[Any, Any]:
    return row["known_since"], row["sequence"]


def version_schema(view: FeatureViewSpec) -> dict[str, pa.DataType]:
    features = {feature.name: TYPES[feature.type] for feature in view.features}
    return {**features, "known_since": INSTANT, "sequence": pa.int64()}


def latest(view: FeatureViewSpec, rows: Sequence[Row], request: Row, instant: datetime | None) -> Row:
    """Return the newest row of a key that was known at an instant; {} without one."""
    candidates = [
        row
        for row in rows
        if instant is not None and key_of(view, row) == key_of(view, request) and row["known_since"] <= instant
    ]
    return max(candidates, key=version_of, default={})


def ranked(rows: Iterable[Row], keys: tuple[str, ...], instant: datetime) -> dict[tuple[Any, ...], Row]:
    """Return the rows known up to an instant by key, known_since and rank by sequence."""
    result: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: row["sequence"]):
        if row["known_since"] is not None and row["known_since"] <= instant:
            rank = 0
            while (key := (*(row[name] for name in keys), row["known_since"], rank)) in result:
                rank += 1
            result[key] = row
    return result


def is_near(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return first == second or abs(first - second) <= FLOAT_TOLERANCE * max(abs(first), abs(second))
    return first == second


def first_instant(values: Iterable[Any]) -> int | None:
    """Return the first instant that is not null, in microseconds since 1970."""
    for value in values:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if value is not None:
            return (value - EPOCH) // timedelta(microseconds=1)
    return None

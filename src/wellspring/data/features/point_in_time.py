"""Point-in-time features: of each view the newest row known at an instant, the newest row of all, or a certain version.

Rows are ordered by (known_since, sequence). Rows that became known later, such as corrections, are never joined. Two
rows of one entity with the same (known_since, sequence) have no defined order, so they are an error. The query engine
finds the rows; the checks of its inputs and of the tables are the same for all engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError, ProjectError, suggest_name
from wellspring.query.port import joined_column_name
from wellspring.records.features import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN, FeatureRow, FeatureViewSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.query.port import QueryEngine
    from wellspring.records.tables import TableInput


def point_in_time_join(
    spine: pa.Table,
    views: Sequence[FeatureViewSpec],
    tables: Mapping[str, TableInput],
    *,
    engine: QueryEngine,
    instant_column: str = "event_at",
) -> pa.Table:
    """Join to each spine row the features known at its instant; keeps the rows of the spine and their order.

    spine: the key columns of every view, and `instant_column` (timestamp, UTC). tables: the tables of the views.
    Adds for each view the columns VIEW__FEATURE, VIEW__known_since and VIEW__sequence, null where no row was known.
    Raises ProjectError for a missing or duplicate spine column, CorruptedError for rows without a defined order.
    """
    _check_spine(spine, views, instant_column)
    for view in views:
        _refuse_ties(view, tables[view.table], engine)
    joined = engine.point_in_time_join(spine, views, tables, instant_column=instant_column)
    for name in joined.column_names:
        spine = spine.append_column(name, joined[name])
    return spine


def latest_rows(view: FeatureViewSpec, table: TableInput, *, engine: QueryEngine) -> pa.Table:
    """Return the newest row of each entity: the view's keys, features, known_since and sequence, sorted by key.

    Rows with a null key are left out. Raises CorruptedError for rows without a defined order.
    """
    _refuse_ties(view, table, engine)
    return engine.latest_rows(view, table)


def rows_at_version(
    view: FeatureViewSpec, table: TableInput, row_keys: Sequence[FeatureRow], *, engine: QueryEngine
) -> list[FeatureRow | None]:
    """Look up rows by key, known_since and sequence, for example those behind a prediction; None for a missing row.

    The values in `row_keys` are ignored; the returned values are the table's.
    """
    import pyarrow as pa

    _refuse_ties(view, table, engine)
    versions = pa.table(
        {
            "position": pa.array(range(len(row_keys)), pa.int64()),
            **{name: pa.array([row.key[n] for row in row_keys], pa.string()) for n, name in enumerate(view.keys)},
            KNOWN_SINCE_COLUMN: pa.array([row_key.known_since for row_key in row_keys], pa.timestamp("us", "UTC")),
            SEQUENCE_COLUMN: pa.array([row_key.sequence for row_key in row_keys], pa.int64()),
        }
    )
    matches: list[FeatureRow | None] = [None] * len(row_keys)
    for row in engine.rows_at_version(view, table, versions).to_pylist():
        position = row.pop("position")
        matches[position] = row_keys[position]._replace(values=row)
    return matches


def _check_spine(spine: pa.Table, views: Sequence[FeatureViewSpec], instant_column: str) -> None:
    for name in [instant_column, *_key_columns(views)]:
        if name not in spine.column_names:
            raise ProjectError(
                f"the spine has no column {name!r}; {suggest_name(name, spine.column_names)}",
                fix="add the keys of every view and the instant column to the spine",
            )
    added = [
        joined_column_name(view.name, column_name)
        for view in views
        for column_name in (KNOWN_SINCE_COLUMN, *(feature.name for feature in view.features))
    ]
    if duplicates := sorted(set(added) & set(spine.column_names)):
        raise ProjectError(f"the spine already has a column {duplicates[0]!r}", fix="rename the spine's column")


def _refuse_ties(view: FeatureViewSpec, table: TableInput, engine: QueryEngine) -> None:
    """Raise CorruptedError for rows without known_since or sequence, or with the same ones as another row."""
    counts = engine.row_counts(view, table)
    if counts.unversioned:
        message = f"{counts.unversioned} rows of {view.table} have a null known_since or sequence"
        raise CorruptedError(message, fix=f"fix the dbt model {view.table}, and build again")
    if counts.repeated:
        columns = f"{', '.join(view.keys)}, known_since, sequence"
        raise CorruptedError(
            f"{counts.repeated} rows of {view.table} have the same {columns} as another row",
            fix=f"fix the dbt model {view.table}: {columns} must be unique",
        )


def _key_columns(views: Iterable[FeatureViewSpec]) -> list[str]:
    return list(dict.fromkeys(key for view in views for key in view.keys))

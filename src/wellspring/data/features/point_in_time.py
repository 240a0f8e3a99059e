"""Point-in-time join: for each row of a spine, the newest row of each view known at the instant of the spine row.

Rows are ordered by (known_since, sequence). Rows that became known later, such as corrections, are never joined. Two
rows of one entity with the same (known_since, sequence) have no defined order, so they are an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.errors import CorruptedError, ProjectError, suggest_name
from wellspring.records.features import FeatureRow, FeatureViewSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.query.port import QueryEngine

TableInputs = Mapping[str, "pa.Table | Sequence[str]"]
"""Tables by name: each an Arrow table, or the Parquet files of one."""
_SQL_TYPES = {"int64": "bigint", "float64": "double", "bool": "boolean", "string": "varchar"}


def joined_column_name(view: str, feature: str) -> str:
    """Return the name of a joined column: VIEW__FEATURE."""
    return f"{view}__{feature}"


def point_in_time_join(
    spine: pa.Table,
    views: Sequence[FeatureViewSpec],
    tables: TableInputs,
    *,
    instant_column: str = "event_at",
    engine: QueryEngine | None = None,
) -> pa.Table:
    """Join to each spine row the features known at its instant; keeps the rows of the spine and their order.

    spine: the key columns of every view, and `instant_column` (timestamp, UTC). tables: the tables of the views.
    Adds for each view the columns VIEW__FEATURE, VIEW__known_since and VIEW__sequence, null where no row was known.
    Raises ProjectError for a missing or duplicate spine column, CorruptedError for rows without a defined order.
    """
    import pyarrow as pa

    _check_spine(spine, views, instant_column)
    engine = engine or _default_engine()
    position_column = _unused_name("position", spine.column_names)
    query_inputs: dict[str, pa.Table | Sequence[str]] = {
        "spine": pa.table(
            {
                position_column: pa.array(range(spine.num_rows), pa.int64()),
                **{key: spine[key] for key in _key_columns(views)},
                # Microseconds since 1970: the comparison does not depend on the engine's time zone.
                "instant_": spine[instant_column].cast(pa.timestamp("us", "UTC")).cast(pa.int64()),
            }
        )
    }
    join_sql, selected_columns = "", []
    for number, view in enumerate(views):
        _refuse_ties(view, tables[view.table], engine)
        query_inputs[f"t{number}"] = tables[view.table]
        key_match = " and ".join(f's."{key}" = v{number}."{key}"' for key in view.keys)
        join_sql += f"\nasof left join ({_latest_per_instant(view, f't{number}')}) v{number}"
        join_sql += f"\n  on {key_match} and s.instant_ >= v{number}.instant_"
        selected_columns += [
            f'v{number}."{feature.name}" as "{joined_column_name(view.name, feature.name)}"'
            for feature in view.features
        ]
        selected_columns += [f'v{number}.instant_ as "{joined_column_name(view.name, KNOWN_SINCE_COLUMN)}"']
        selected_columns += [f'v{number}."{SEQUENCE_COLUMN}" as "{joined_column_name(view.name, SEQUENCE_COLUMN)}"']
    sql = f"select {', '.join(selected_columns)} from spine s{join_sql} order by s.{position_column}"  # noqa: S608
    joined = engine.run_query(sql, query_inputs)
    for view in views:
        name = joined_column_name(view.name, KNOWN_SINCE_COLUMN)
        instants = joined[name].cast(pa.timestamp("us", "UTC"))
        joined = joined.set_column(joined.column_names.index(name), name, instants)
    for name in joined.column_names:
        spine = spine.append_column(name, joined[name])
    return spine


def latest_rows(
    view: FeatureViewSpec, table: pa.Table | Sequence[str], *, engine: QueryEngine | None = None
) -> pa.Table:
    """Return the newest row of each entity: the view's keys, features, known_since and sequence, sorted by key.

    Rows with a null key are left out. Raises CorruptedError for rows without a defined order.
    """
    engine = engine or _default_engine()
    _refuse_ties(view, table, engine)
    keys = ", ".join(f'"{key}"' for key in view.keys)
    has_keys = " and ".join(f'"{key}" is not null' for key in view.keys)
    sql = (
        f"select {keys}, {_feature_columns(view)}, {_epoch_expression()} as {KNOWN_SINCE_COLUMN}, "  # noqa: S608
        f"{SEQUENCE_COLUMN} from rows where {has_keys} qualify row_number() over "
        f"(partition by {keys} order by {KNOWN_SINCE_COLUMN} desc, {SEQUENCE_COLUMN} desc) = 1 order by {keys}"
    )
    return _with_timestamps(engine.run_query(sql, {"rows": table}))


def rows_at_version(
    view: FeatureViewSpec,
    table: pa.Table | Sequence[str],
    row_keys: Sequence[FeatureRow],
    *,
    engine: QueryEngine | None = None,
) -> list[FeatureRow | None]:
    """Look up rows by key, known_since and sequence, for example those behind a prediction; None for a missing row.

    The values in `row_keys` are ignored; the returned values are the table's.
    """
    import pyarrow as pa

    engine = engine or _default_engine()
    _refuse_ties(view, table, engine)
    instants = pa.array([row_key.known_since for row_key in row_keys], pa.timestamp("us", "UTC"))
    lookup_table = pa.table(
        {
            "position_": pa.array(range(len(row_keys)), pa.int64()),
            "instant_": instants.cast(pa.int64()),
            "sequence_": pa.array([row_key.sequence for row_key in row_keys], pa.int64()),
            **{f"{name}_": pa.array([row.key[n] for row in row_keys], pa.string()) for n, name in enumerate(view.keys)},
        }
    )
    key_match = " and ".join(f't."{key}" = k."{key}_"' for key in view.keys)
    sql = (
        f"select k.position_, {_feature_columns(view, 't')} from row_keys k join rows t on {key_match} "  # noqa: S608
        f"and {_epoch_expression('t')} = k.instant_ and t.{SEQUENCE_COLUMN} = k.sequence_"
    )
    matches: list[FeatureRow | None] = [None] * len(row_keys)
    for row in engine.run_query(sql, {"row_keys": lookup_table, "rows": table}).to_pylist():
        position = row.pop("position_")
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


def _refuse_ties(view: FeatureViewSpec, table: pa.Table | Sequence[str], engine: QueryEngine) -> None:
    """Raise CorruptedError for rows without known_since or sequence, or with the same ones as another row."""
    keys = ", ".join(f'"{key}"' for key in view.keys)
    has_keys = " and ".join(f'"{key}" is not null' for key in view.keys)
    counts = engine.run_query(
        f"select count(*) filter ({KNOWN_SINCE_COLUMN} is null or {SEQUENCE_COLUMN} is null) as undated, "  # noqa: S608
        f"count(*) as rows, count(distinct ({keys}, {KNOWN_SINCE_COLUMN}, {SEQUENCE_COLUMN})) as distinct_rows "
        f"from rows where {has_keys}",
        {"rows": table},
    ).to_pylist()[0]
    if counts["undated"]:
        message = f"{counts['undated']} rows of {view.table} have a null known_since or sequence"
        raise CorruptedError(message, fix=f"fix the dbt model {view.table}, and build again")
    if ties := counts["rows"] - counts["distinct_rows"]:
        columns = f"{', '.join(view.keys)}, known_since, sequence"
        raise CorruptedError(
            f"{ties} rows of {view.table} have the same {columns} as another row",
            fix=f"fix the dbt model {view.table}: {columns} must be unique",
        )


def _latest_per_instant(view: FeatureViewSpec, table: str) -> str:
    """Select one row per entity and instant: of rows with the same known_since, the one with the highest sequence."""
    keys = ", ".join(f'"{key}"' for key in view.keys)
    return (
        f"select {keys}, {_feature_columns(view)}, {_epoch_expression()} as instant_, {SEQUENCE_COLUMN} "  # noqa: S608
        f"from {table} qualify row_number() over "
        f"(partition by {keys}, {KNOWN_SINCE_COLUMN} order by {SEQUENCE_COLUMN} desc) = 1"
    )


def _feature_columns(view: FeatureViewSpec, table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(
        f'cast({prefix}"{feature.name}" as {_SQL_TYPES[feature.type]}) as "{feature.name}"' for feature in view.features
    )


def _epoch_expression(table: str = "") -> str:
    return f"epoch_us({f'{table}.' if table else ''}{KNOWN_SINCE_COLUMN})"


def _with_timestamps(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    instants = table[KNOWN_SINCE_COLUMN].cast(pa.timestamp("us", "UTC"))
    return table.set_column(table.column_names.index(KNOWN_SINCE_COLUMN), KNOWN_SINCE_COLUMN, instants)


def _key_columns(views: Iterable[FeatureViewSpec]) -> list[str]:
    return list(dict.fromkeys(key for view in views for key in view.keys))


def _unused_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _default_engine() -> QueryEngine:
    from wellspring.query.duckdb import DuckDbEngine

    return DuckDbEngine()

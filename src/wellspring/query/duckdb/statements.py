"""The SQL of the operations, in DuckDB's dialect. Each function returns one SELECT; names of columns are quoted.

Instants are compared as microseconds since 1970, so that no comparison depends on the session's time zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wellspring.query.port import FLOAT_TOLERANCE, joined_column_name
from wellspring.records.features import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.features import FeatureViewSpec

TIE_RANK_COLUMN = "rank among rows of one instant"
_SQL_TYPES = {"int64": "bigint", "float64": "double", "bool": "boolean", "string": "varchar"}


def count_versions(view: FeatureViewSpec) -> str:
    """Count the rows, the rows without a version and the distinct versions of `rows`."""
    return (
        f"select count(*) filter ({KNOWN_SINCE_COLUMN} is null or {SEQUENCE_COLUMN} is null) as unversioned, "  # noqa: S608
        f"count(*) as rows, "
        f"count(distinct ({_quoted(view.keys)}, {KNOWN_SINCE_COLUMN}, {SEQUENCE_COLUMN})) as versions "
        f"from rows where {_has_keys(view)}"
    )


def join_views_as_of(views: Sequence[FeatureViewSpec], position_column: str) -> str:
    """Join `spine` (position, keys, instant_) with the views, whose tables are `t0`, `t1` and so on."""
    join_sql, selected_columns = "", list[str]()
    for number, view in enumerate(views):
        key_match = " and ".join(f's."{key}" = v{number}."{key}"' for key in view.keys)
        join_sql += f"\nasof left join ({_latest_per_instant(view, f't{number}')}) v{number}"
        join_sql += f"\n  on {key_match} and s.instant_ >= v{number}.instant_"
        selected_columns += [
            f'v{number}."{feature.name}" as "{joined_column_name(view.name, feature.name)}"'
            for feature in view.features
        ]
        selected_columns += [f'v{number}.instant_ as "{joined_column_name(view.name, KNOWN_SINCE_COLUMN)}"']
        selected_columns += [f'v{number}."{SEQUENCE_COLUMN}" as "{joined_column_name(view.name, SEQUENCE_COLUMN)}"']
    return f"select {', '.join(selected_columns)} from spine s{join_sql} order by s.{position_column}"  # noqa: S608


def latest_per_key(view: FeatureViewSpec) -> str:
    """Select the newest row of each key from `rows`, sorted by key."""
    keys = _quoted(view.keys)
    return (
        f"select {keys}, {_feature_columns(view)}, {_epoch_of()} as {KNOWN_SINCE_COLUMN}, "  # noqa: S608
        f"{SEQUENCE_COLUMN} from rows where {_has_keys(view)} qualify row_number() over "
        f"(partition by {keys} order by {KNOWN_SINCE_COLUMN} desc, {SEQUENCE_COLUMN} desc) = 1 order by {keys}"
    )


def match_versions(view: FeatureViewSpec) -> str:
    """Join `versions` (position_, keys with an underscore, instant_, sequence_) with `rows`."""
    key_match = " and ".join(f't."{key}" = k."{key}_"' for key in view.keys)
    return (
        f"select k.position_ as position, {_feature_columns(view, 't')} from versions k join rows t on {key_match} "  # noqa: S608
        f"and {_epoch_of('t')} = k.instant_ and t.{SEQUENCE_COLUMN} = k.sequence_"
    )


def match_keys(key_columns: Sequence[str], columns: Sequence[str]) -> str:
    """Select the rows of `rows` whose key columns equal those of a row of `keys`."""
    on_condition = " and ".join(f"rows.{_quoted([name])} = keys.{_quoted([name])}" for name in key_columns)
    return f"select {_quoted(columns)} from rows semi join keys on {on_condition}"  # noqa: S608


def count_differences(fields: Sequence[pa.Field], keys: tuple[str, ...], audit_instant: str) -> str:
    """Count the compared rows of `full_build` and `past_build`, the rows of one side only, and the differing fields."""
    join_columns = [*keys, KNOWN_SINCE_COLUMN]
    on_condition = " and ".join(f'whole."{name}" = past."{name}"' for name in (*join_columns, TIE_RANK_COLUMN))
    one_sided = f'whole."{KNOWN_SINCE_COLUMN}" is null or past."{KNOWN_SINCE_COLUMN}" is null'
    counts_sql = [_count_where(KNOWN_SINCE_COLUMN, one_sided)]
    for field in fields:
        full_column, past_column = f'whole."{field.name}"', f'past."{field.name}"'
        differ = f"{full_column} is distinct from {past_column}"
        if str(field.type) in {"double", "float"}:
            magnitude = f"greatest(abs({full_column}), abs({past_column}))"
            near = f"abs({full_column} - {past_column}) <= {FLOAT_TOLERANCE} * {magnitude}"
            differ += f" and not coalesce({near}, false)"
        counts_sql.append(_count_where(field.name, f"not ({one_sided}) and {differ}"))
    full_sql, past_sql = (_rows_up_to(table, audit_instant, join_columns) for table in ("full_build", "past_build"))
    return (
        f"with whole as ({full_sql}), past as ({past_sql}) "  # noqa: S608 (names of our own tables)
        f"select count(*), {', '.join(counts_sql)} from whole full join past on {on_condition}"
    )


def last_instants(columns: Sequence[str], unit: int) -> str:
    """Select the last instant of each period of `unit` microseconds with rows in `rows`, ascending."""
    instant_sql = f"coalesce({', '.join(f'epoch_us({_quoted([name])})' for name in columns)})"
    return (
        f"select max({instant_sql}) as instant from rows where {instant_sql} is not null "  # noqa: S608
        f"group by {instant_sql} // {unit} order by 1"
    )


def _latest_per_instant(view: FeatureViewSpec, table: str) -> str:
    """Select one row per entity and instant: of rows with the same known_since, the one with the highest sequence."""
    keys = _quoted(view.keys)
    return (
        f"select {keys}, {_feature_columns(view)}, {_epoch_of()} as instant_, {SEQUENCE_COLUMN} "  # noqa: S608
        f"from {table} qualify row_number() over "
        f"(partition by {keys}, {KNOWN_SINCE_COLUMN} order by {SEQUENCE_COLUMN} desc) = 1"
    )


def _rows_up_to(table: str, audit_instant: str, join_columns: list[str]) -> str:
    """Select the rows known up to the audit instant. The sequence is compared, not joined on: it may leak as well."""
    rank_sql = f'row_number() over (partition by {_quoted(join_columns)} order by "sequence") as "{TIE_RANK_COLUMN}"'
    condition = f"{KNOWN_SINCE_COLUMN} <= timestamptz '{audit_instant}'"
    return f'select *, {rank_sql} from "{table}" where {condition}'  # noqa: S608 (see above)


def _count_where(name: str, condition: str) -> str:
    return f'count(*) filter (where {condition}) as "{name}"'


def _feature_columns(view: FeatureViewSpec, table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(
        f'cast({prefix}"{feature.name}" as {_SQL_TYPES[feature.type]}) as "{feature.name}"' for feature in view.features
    )


def _epoch_of(table: str = "") -> str:
    return f"epoch_us({f'{table}.' if table else ''}{KNOWN_SINCE_COLUMN})"


def _has_keys(view: FeatureViewSpec) -> str:
    return " and ".join(f'"{key}" is not null' for key in view.keys)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)

"""Leakage comparison: a feature table against the same table built only from rows recorded up to an audit instant."""

from __future__ import annotations

from typing import NamedTuple

from wellspring.query.duckdb import DuckDbEngine

FLOAT_TOLERANCE = 1e-9
"""Relative difference up to which two floats are equal: a sum depends on the order in which threads add."""
TIE_RANK_COLUMN = "rank among rows of one instant"


class LeakageReport(NamedTuple):
    """The columns that differ (`known_since` when rows were added or removed), and the number of compared rows.

    With zero rows the comparison shows nothing about the table.
    """

    leaks: list[str]
    rows: int


def compare_past(full: str, past: str, *, audit_instant: str, keys: tuple[str, ...]) -> LeakageReport:
    """Compare the rows of one table whose known_since is at most the audit instant.

    full, past: Parquet files of the table, built from all rows and from the rows recorded up to `audit_instant` (UTC).
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(full)
    join_columns = [*keys, "known_since"]
    compared_fields = [field for field in schema if field.name not in join_columns]
    missing = sorted(set(schema.names) - set(pq.read_schema(past).names))
    if missing:
        return LeakageReport(missing, 0)
    join_condition = " and ".join(f'whole."{name}" = past."{name}"' for name in (*join_columns, TIE_RANK_COLUMN))
    counts_sql = [_count_where("known_since", 'whole."known_since" is null or past."known_since" is null')]
    for field in compared_fields:
        full_column, past_column = f'whole."{field.name}"', f'past."{field.name}"'
        differ = f"{full_column} is distinct from {past_column}"
        if str(field.type) in {"double", "float"}:
            magnitude = f"greatest(abs({full_column}), abs({past_column}))"
            near = f"abs({full_column} - {past_column}) <= {FLOAT_TOLERANCE} * {magnitude}"
            differ += f" and not coalesce({near}, false)"
        both = 'whole."known_since" is not null and past."known_since" is not null'
        counts_sql.append(_count_where(field.name, f"{both} and {differ}"))
    full_sql, past_sql = (_rows_up_to(table, audit_instant, join_columns) for table in ("full_build", "past_build"))
    sql = (
        f"with whole as ({full_sql}), past as ({past_sql}) "  # noqa: S608 (names of our own tables)
        f"select count(*), {', '.join(counts_sql)} from whole full join past on {join_condition}"
    )
    counts = DuckDbEngine().run_query(sql, {"full_build": [full], "past_build": [past]})
    rows, *differing = (column[0].as_py() for column in counts.columns)
    names = ["known_since", *(field.name for field in compared_fields)]
    return LeakageReport(sorted(name for name, count in zip(names, differing, strict=True) if count), rows)


def _count_where(name: str, condition: str) -> str:
    return f'count(*) filter (where {condition}) as "{name}"'


def _rows_up_to(table: str, audit_instant: str, join_columns: list[str]) -> str:
    """Select the rows known up to the audit instant. The sequence is compared, not joined on: it may leak as well."""
    partition_sql = ", ".join(f'"{name}"' for name in join_columns)
    rank_sql = f'row_number() over (partition by {partition_sql} order by "sequence") as "{TIE_RANK_COLUMN}"'
    condition = f"known_since <= timestamptz '{audit_instant}'"
    return f'select *, {rank_sql} from "{table}" where {condition}'  # noqa: S608 (see above)

"""Which columns knew the future: a feature table beside itself, built from only what was known at an instant."""

from __future__ import annotations

from typing import NamedTuple

from wellspring.query.duckdb import DuckDbEngine

FLOAT_TOLERANCE = 1e-9
"""Two floats this near, relatively, are one: a sum depends on the order in which threads add."""
TIE_RANK_COLUMN = "place among rows known at once"


class LeakageReport(NamedTuple):
    """leaks: columns that differ; `known_since` when rows came or went. rows: how many were looked at: none shows
    nothing, whatever the SQL does."""

    leaks: list[str]
    rows: int


def compare_past(full: str, past: str, *, audit_instant: str, keys: tuple[str, ...]) -> LeakageReport:
    """Compare the rows of one table that were known up to an instant.

    whole, past: Parquet of it as built from everything, and from what was recorded up to `cut` (UTC).
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
            near = f"abs({full_column} - {past_column}) <= {FLOAT_TOLERANCE} * greatest(abs({full_column}), abs({past_column}))"
            differ += f" and not coalesce({near}, false)"
        both = 'whole."known_since" is not null and past."known_since" is not null'
        counts_sql.append(_count_where(field.name, f"{both} and {differ}"))
    sql = (
        f"with whole as ({_rows_up_to('everything', audit_instant, join_columns)}), past as ({_rows_up_to('then', audit_instant, join_columns)}) "  # noqa: S608 (names of our own tables)
        f"select count(*), {', '.join(counts_sql)} from whole full join past on {join_condition}"
    )
    counts = DuckDbEngine().run_query(sql, {"everything": [full], "then": [past]})
    rows, *differing = (column[0].as_py() for column in counts.columns)
    names = ["known_since", *(field.name for field in compared_fields)]
    return LeakageReport(sorted(name for name, count in zip(names, differing, strict=True) if count), rows)


def _count_where(name: str, condition: str) -> str:
    return f'count(*) filter (where {condition}) as "{name}"'


def _rows_up_to(table: str, audit_instant: str, join_columns: list[str]) -> str:
    """Select what is known up to the cut. The sequence is compared, not joined on: it too may know the future."""
    partition_sql = ", ".join(f'"{name}"' for name in join_columns)
    rank_sql = f'row_number() over (partition by {partition_sql} order by "sequence") as "{TIE_RANK_COLUMN}"'
    return f"select *, {rank_sql} from \"{table}\" where known_since <= timestamptz '{audit_instant}'"  # noqa: S608 (see above)

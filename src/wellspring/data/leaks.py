"""Which columns knew the future: a feature table beside itself, built from only what was known at an instant."""

from __future__ import annotations

from typing import NamedTuple

from wellspring.stores.tables.duckdb import DuckTables

CLOSE = 1e-9
"""Two floats this near, relatively, are one: a sum depends on the order in which threads add."""
PLACE = "place among rows known at once"


class Compared(NamedTuple):
    """leaks: columns that differ; `known_since` when rows came or went. rows: how many were looked at: none shows
    nothing, whatever the SQL does."""

    leaks: list[str]
    rows: int


def leaks_between(whole: str, past: str, *, cut: str, keys: tuple[str, ...]) -> Compared:
    """Compare the rows of one table that were known up to an instant.

    whole, past: Parquet of it as built from everything, and from what was recorded up to `cut` (UTC).
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(whole)
    at = [*keys, "known_since"]
    compared = [field for field in schema if field.name not in at]
    missing = sorted(set(schema.names) - set(pq.read_schema(past).names))
    if missing:
        return Compared(missing, 0)
    on = " and ".join(f'whole."{name}" = past."{name}"' for name in (*at, PLACE))
    told = [_told("known_since", 'whole."known_since" is null or past."known_since" is null')]
    for field in compared:
        one, other = f'whole."{field.name}"', f'past."{field.name}"'
        differ = f"{one} is distinct from {other}"
        if str(field.type) in {"double", "float"}:
            near = f"abs({one} - {other}) <= {CLOSE} * greatest(abs({one}), abs({other}))"
            differ += f" and not coalesce({near}, false)"
        both = 'whole."known_since" is not null and past."known_since" is not null'
        told.append(_told(field.name, f"{both} and {differ}"))
    sql = (
        f"with whole as ({_up_to('everything', cut, at)}), past as ({_up_to('then', cut, at)}) "  # noqa: S608 (names of our own tables)
        f"select count(*), {', '.join(told)} from whole full join past on {on}"
    )
    counts = DuckTables().query(sql, {"everything": [whole], "then": [past]})
    rows, *differing = (column[0].as_py() for column in counts.columns)
    names = ["known_since", *(field.name for field in compared)]
    return Compared(sorted(name for name, count in zip(names, differing, strict=True) if count), rows)


def _told(name: str, differ: str) -> str:
    return f'count(*) filter (where {differ}) as "{name}"'


def _up_to(table: str, cut: str, at: list[str]) -> str:
    """Select what is known up to the cut. The sequence is compared, not joined on: it too may know the future."""
    named = ", ".join(f'"{name}"' for name in at)
    place = f'row_number() over (partition by {named} order by "sequence") as "{PLACE}"'
    return f"select *, {place} from \"{table}\" where known_since <= timestamptz '{cut}'"  # noqa: S608 (see above)

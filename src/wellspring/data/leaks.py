"""Which columns knew the future: a feature table beside itself, built from only what was known at an instant."""

from __future__ import annotations

from wellspring.stores.tables.duckdb import DuckTables

CLOSE = 1e-9
"""Two floats this near, relatively, are one: a sum depends on the order in which threads add."""
PLACE = "place among rows known at once"


def leaks_between(whole: str, past: str, *, cut: str, keys: tuple[str, ...]) -> list[str]:
    """Name the columns that differ in the rows known up to an instant; `known_since` when rows came or went.

    whole, past: Parquet of one table built from everything, and from what was recorded up to `cut` (UTC).
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(whole)
    at = [*keys, "known_since"]
    compared = [field for field in schema if field.name not in at]
    missing = sorted(set(schema.names) - set(pq.read_schema(past).names))
    if missing:
        return missing
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
        f"select {', '.join(told)} from whole full join past on {on}"
    )
    (found,) = DuckTables().query(sql, {"everything": [whole], "then": [past]}).to_pylist()
    return sorted(name for name, rows in found.items() if rows)


def _told(name: str, differ: str) -> str:
    return f'count(*) filter (where {differ}) as "{name}"'


def _up_to(table: str, cut: str, at: list[str]) -> str:
    """Select what is known up to the cut. The sequence is compared, not joined on: it too may know the future."""
    named = ", ".join(f'"{name}"' for name in at)
    place = f'row_number() over (partition by {named} order by "sequence") as "{PLACE}"'
    return f"select *, {place} from \"{table}\" where known_since <= timestamptz '{cut}'"  # noqa: S608 (see above)

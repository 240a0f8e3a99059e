"""Where a history is cut to ask what was known then: instants that divide what was recorded into a past and a future.

Of a table that lies whole on one side of every cut nothing is learned about what looks ahead in it. So the tables'
own days decide, and not how many rows a backfill once loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wellspring.data.transform.dbt_process import SourceTable
from wellspring.errors import ProjectError
from wellspring.query.duckdb import DuckDbEngine
from wellspring.records.record import format_instant

if TYPE_CHECKING:
    import pyarrow as pa

RECORDING_COLUMNS = ("recorded_at", "known_since")
"""The columns that say when a row was known: to its supplier where the contract has it, else to the house."""
AUDIT_QUANTILE = 0.7
"""Where a history is cut to ask what was known then: this share of the days on which rows were recorded lies before."""
MAX_AUDIT_INSTANTS = 2
"""Each cut is a whole build."""
DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def known_since_columns(table: str, schemas: Iterable[pa.Schema]) -> tuple[str, ...]:
    """Name the columns that say when a row was known. Raises ProjectError for one that is no instant."""
    import pyarrow.types as kind

    types = {
        (name, schema.field(name).type) for schema in schemas for name in RECORDING_COLUMNS if name in schema.names
    }
    for name, column_type in sorted(types, key=str):
        if not kind.is_timestamp(column_type) and not kind.is_date(column_type):
            raise ProjectError(
                f"column {name} of table {table} is {column_type}, and it is to say when a row was recorded",
                fix="declare it as a timestamp in its contract, or give it another name",
            )
    return tuple(name for name in RECORDING_COLUMNS if name in {name for name, _ in types})


def choose_audit_instants(sources: Mapping[str, SourceTable]) -> tuple[str, ...]:
    """Choose the instants at which to ask what was known then; none when no table grew.

    Each table that grew offers one of its own. Taken is what divides the most tables into a past and a future (of
    several the middle one); then, for the tables that it leaves whole, once more.
    """
    instants_by_table = {
        name: instants for name, item in sources.items() if len(instants := _recording_instants(name, item)) > 1
    }
    candidates = sorted(
        {item[min(int(AUDIT_QUANTILE * len(item)), len(item) - 2)] for item in instants_by_table.values()}
    )
    selected: list[int] = []
    undivided = set(instants_by_table)
    while undivided and len(selected) < MAX_AUDIT_INSTANTS:
        divided = {
            instant: {name for name in undivided if instants_by_table[name][0] <= instant < instants_by_table[name][-1]}
            for instant in candidates
        }
        most_divided = max(map(len, divided.values()))
        best = [cut for cut in candidates if len(divided[cut]) == most_divided]
        selected.append(best[len(best) // 2])
        undivided -= divided[selected[-1]]
    return tuple(format_instant(UNIX_EPOCH + timedelta(microseconds=cut)) for cut in selected)


def _recording_instants(name: str, source: SourceTable) -> list[int]:
    """List the last instant of each day on which rows of a table were recorded, in microseconds since 1970 (UTC).

    A day counts once, however many rows were loaded on it. Where all is of one day: each instant.
    """
    instant_sql = f"coalesce({', '.join(f'epoch_us({column_name})' for column_name in source.known_since_columns)})"
    for unit in (DAY_MICROSECONDS, 1):
        sql = f'select max({instant_sql}) as at from "{name}" where {instant_sql} is not null group by {instant_sql} // {unit} order by 1'  # noqa: S608 (our own names)
        instants = DuckDbEngine().run_query(sql, {name: source.files})["at"].to_pylist()
        if len(instants) != 1:
            break
    return instants

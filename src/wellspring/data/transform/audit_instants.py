"""Choice of the audit instants: instants that divide the recorded history into a past and a future.

The leakage audit finds nothing in a table that lies entirely on one side of every instant. The instants are therefore
chosen from the recording days of each table, independent of the number of rows that a backfill loaded.
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
"""Columns with the instant at which a row was recorded: by its supplier, if the contract has it, else on landing."""
AUDIT_QUANTILE = 0.7
"""Share of a table's recording days that lie before its audit instant."""
MAX_AUDIT_INSTANTS = 2
"""Each audit instant costs one full build."""
DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def known_since_columns(table: str, schemas: Iterable[pa.Schema]) -> tuple[str, ...]:
    """Return a table's recording columns. Raises ProjectError when one is not a timestamp or a date."""
    import pyarrow.types as kind

    types = {
        (name, schema.field(name).type) for schema in schemas for name in RECORDING_COLUMNS if name in schema.names
    }
    for name, column_type in sorted(types, key=str):
        if not kind.is_timestamp(column_type) and not kind.is_date(column_type):
            raise ProjectError(
                f"column {name} of table {table} is {column_type}; it must be the instant at which a row was recorded",
                fix="declare it as a timestamp in its contract, or rename it",
            )
    return tuple(name for name in RECORDING_COLUMNS if name in {name for name, _ in types})


def choose_audit_instants(sources: Mapping[str, SourceTable]) -> tuple[str, ...]:
    """Choose at most two audit instants; none when no table has rows of more than one instant.

    Each table with several recording instants proposes one. The instant that divides the most tables is chosen (of
    several, the middle one), then one more for the tables that it does not divide.
    """
    instants_by_table = {
        name: instants for name, source in sources.items() if len(instants := _recording_instants(name, source)) > 1
    }
    candidates = sorted(
        {
            instants[min(int(AUDIT_QUANTILE * len(instants)), len(instants) - 2)]
            for instants in instants_by_table.values()
        }
    )
    selected: list[int] = []
    undivided = set(instants_by_table)
    while undivided and len(selected) < MAX_AUDIT_INSTANTS:
        divided = {
            instant: {name for name in undivided if instants_by_table[name][0] <= instant < instants_by_table[name][-1]}
            for instant in candidates
        }
        most_divided = max(map(len, divided.values()))
        best = [candidate for candidate in candidates if len(divided[candidate]) == most_divided]
        selected.append(best[len(best) // 2])
        undivided -= divided[selected[-1]]
    return tuple(format_instant(UNIX_EPOCH + timedelta(microseconds=instant)) for instant in selected)


def _recording_instants(name: str, source: SourceTable) -> list[int]:
    """List the last recording instant of each day with rows of a table, in microseconds since 1970 (UTC).

    When all rows were recorded on one day, list each distinct instant.
    """
    instant_sql = f"coalesce({', '.join(f'epoch_us({column_name})' for column_name in source.known_since_columns)})"
    for unit in (DAY_MICROSECONDS, 1):
        sql = (
            f'select max({instant_sql}) as instant from "{name}" where {instant_sql} is not null '  # noqa: S608
            f"group by {instant_sql} // {unit} order by 1"
        )
        instants = DuckDbEngine().run_query(sql, {name: source.files})["instant"].to_pylist()
        if len(instants) != 1:
            break
    return instants

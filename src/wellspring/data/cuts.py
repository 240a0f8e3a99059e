"""Where a history is cut to ask what was known then: instants that divide what was recorded into a past and a future.

Of a table that lies whole on one side of every cut nothing is learned about what looks ahead in it. So the tables'
own days decide, and not how many rows a backfill once loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wellspring.data.building import Source
from wellspring.errors import ProjectError
from wellspring.records.record import stamp
from wellspring.stores.tables.duckdb import DuckTables

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN = ("recorded_at", "known_since")
"""The columns that say when a row was known: to its supplier where the contract has it, else to the house."""
QUANTILE = 0.7
"""Where a history is cut to ask what was known then: this share of the days on which rows were recorded lies before."""
MOST_CUTS = 2
"""Each cut is a whole build."""
DAY = 24 * 60 * 60 * 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def known_by(table: str, schemas: Iterable[pa.Schema]) -> tuple[str, ...]:
    """Name the columns that say when a row was known. Raises ProjectError for one that is no instant."""
    import pyarrow.types as kind

    types = {(name, schema.field(name).type) for schema in schemas for name in KNOWN if name in schema.names}
    for name, each in sorted(types, key=str):
        if not kind.is_timestamp(each) and not kind.is_date(each):
            raise ProjectError(
                f"column {name} of table {table} is {each}, and it is to say when a row was recorded",
                fix="declare it as a timestamp in its contract, or give it another name",
            )
    return tuple(name for name in KNOWN if name in {name for name, _ in types})


def cuts_of(sources: Mapping[str, Source]) -> tuple[str, ...]:
    """Choose the instants at which to ask what was known then; none when no table grew.

    Each table that grew offers one of its own. Taken is what divides the most tables into a past and a future (of
    several the middle one); then, for the tables that it leaves whole, once more.
    """
    grew = {name: found for name, each in sources.items() if len(found := _recorded(name, each)) > 1}
    offered = sorted({each[min(int(QUANTILE * len(each)), len(each) - 2)] for each in grew.values()})
    cuts: list[int] = []
    left = set(grew)
    while left and len(cuts) < MOST_CUTS:
        divided = {cut: {name for name in left if grew[name][0] <= cut < grew[name][-1]} for cut in offered}
        most = max(map(len, divided.values()))
        best = [cut for cut in offered if len(divided[cut]) == most]
        cuts.append(best[len(best) // 2])
        left -= divided[cuts[-1]]
    return tuple(stamp(EPOCH + timedelta(microseconds=cut)) for cut in cuts)


def _recorded(name: str, source: Source) -> list[int]:
    """List the last instant of each day on which rows of a table were recorded, in microseconds since 1970 (UTC).

    A day counts once, however many rows were loaded on it. Where all is of one day: each instant.
    """
    at = f"coalesce({', '.join(f'epoch_us({each})' for each in source.known)})"
    for unit in (DAY, 1):
        sql = f'select max({at}) as at from "{name}" where {at} is not null group by {at} // {unit} order by 1'  # noqa: S608 (our own names)
        found = DuckTables().query(sql, {name: source.files})["at"].to_pylist()
        if len(found) != 1:
            break
    return found

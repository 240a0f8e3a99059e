"""Define the query engine as a protocol: read-only SQL over named tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class QueryEngine(Protocol):
    """Run SQL over snapshots. An engine never writes and opens only the files that it receives."""

    def run_query(self, sql: str, tables: Mapping[str, pa.Table | Sequence[str]]) -> pa.Table:
        """Run one SELECT. tables: by name in the SQL, the Parquet files of a snapshot or an Arrow table.

        A file may lack columns that later files of its table have; they are null.
        Raises Refused for SQL that is not one SELECT or that names other tables, NotFound for a missing file.
        """
        ...

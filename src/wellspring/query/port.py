"""What the house may ask of a query engine: SQL over named tables, never a change to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class QueryEngine(Protocol):
    """SQL over snapshots. It reads; it never writes, and it fetches nothing from outside."""

    def run_query(self, sql: str, tables: Mapping[str, pa.Table | Sequence[str]]) -> pa.Table:
        """Answer one SELECT. tables: the name used in the SQL -> the Parquet files of a snapshot, or an Arrow table.

        Files of one table may lack columns that later ones have; they read as null.
        Raises Refused for SQL that is no query or names what was not handed in, NotFound for a missing file.
        """
        ...

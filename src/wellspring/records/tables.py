"""Immutable tables as inputs of a query engine: a caller passes them on, and only adapters look at their storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa


class StoredTable(Protocol):
    """A table at one snapshot, in storage. name: the table's name, for messages. schema: of all its columns."""

    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> pa.Schema: ...

    def read_rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all rows, or some columns of them, into memory."""
        ...


TableInput: TypeAlias = "pa.Table | StoredTable"
"""A table that an engine reads: in memory, or in storage that a catalog or an engine has written."""


@dataclass(frozen=True)
class ParquetTable:
    """A stored table of Parquet files on this machine. A file may lack columns that later files have; they are null.

    files: absolute paths. Only lake and query adapters use them.
    """

    name: str
    files: tuple[str, ...]
    schema: pa.Schema

    def read_rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        file_tables: list[pa.Table] = []
        for file in self.files:
            with pq.ParquetFile(file) as stored:
                file_tables.append(stored.read(columns=fields.names))
        rows = pa.concat_tables(file_tables, promote_options="permissive") if file_tables else fields.empty_table()
        for field in fields:
            if field.name not in rows.column_names:
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        return rows.select(fields.names).cast(fields)

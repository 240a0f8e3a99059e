"""Iceberg catalog in SQLite that reads each metadata file once: such a file is never changed after it was written.

Only the opener of the catalog imports this module, so it imports pyiceberg at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyiceberg.catalog.sql import SqlCatalog  # noqa: TID253 - see above
from pyiceberg.table import Table  # noqa: TID253

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import IcebergTables
    from pyiceberg.table import CommitTableResponse
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate


class CachedSqlCatalog(SqlCatalog):
    """Keeps the newest metadata of each table, with the place where it is stored."""

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._newest: dict[tuple[str, ...], tuple[str, TableMetadata]] = {}

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        row: Any = orm_table
        identifier = (row.table_namespace, row.table_name)
        location, metadata = self._newest.get(identifier, ("", None))
        if metadata is None or location != row.metadata_location:
            table = super()._convert_orm_to_iceberg(orm_table)
            self._newest[identifier] = (table.metadata_location, table.metadata)
            return table
        io = self._load_file_io(metadata.properties, location)
        return Table(identifier=identifier, metadata=metadata, metadata_location=location, io=io, catalog=self)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        response = super().commit_table(table, requirements, updates)
        self._newest[tuple(table.name())] = (response.metadata_location, response.metadata)
        return response

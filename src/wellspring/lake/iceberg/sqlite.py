"""Iceberg catalog in an SQLite file on this machine: `catalog.db` and `warehouse/` in the lake's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.port import CatalogAdapter
from wellspring.settings import SettingsSection

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.catalog.sql import SqlCatalog


class SqliteCatalogSettings(SettingsSection):
    """[lake.options] of the catalog `sqlite`: it has none."""


def open_sqlite_catalog(_settings: SqliteCatalogSettings, folder: Path, namespace: str) -> IcebergCatalog:
    """Return a namespace of the catalog in a folder; the folder and its files are created by the first write."""

    def open_catalog() -> SqlCatalog:
        from sqlalchemy import URL

        from wellspring.lake.iceberg.cached_catalog import CachedSqlCatalog
        from wellspring.lake.iceberg.fsync_io import FILE_IO_CLASS

        folder.mkdir(parents=True, exist_ok=True)
        return CachedSqlCatalog(
            "wellspring",
            # URL.create quotes special characters of the folder's name (#, %, a space).
            uri=URL.create("sqlite", database=str(folder / "catalog.db")).render_as_string(),
            warehouse=str(folder / "warehouse"),
            **{"py-io-impl": FILE_IO_CLASS},
        )

    return IcebergCatalog(
        namespace, open_catalog, exists=(folder / "catalog.db").exists, read_versions=_read_metadata_locations
    )


def _read_metadata_locations(catalog: Catalog, namespace: str) -> dict[str, str]:
    """Read the metadata location of each table with one query; loading a table reads and parses its metadata."""
    from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    with Session(cast(SqlCatalog, catalog).engine) as session:
        rows = session.execute(
            select(IcebergTables.table_name, IcebergTables.metadata_location).where(
                IcebergTables.catalog_name == catalog.name, IcebergTables.table_namespace == namespace
            )
        ).all()
    return {name: str(location) for name, location in rows}


SQLITE = CatalogAdapter(SqliteCatalogSettings, open_sqlite_catalog, packages=("pyarrow", "pyiceberg"))

"""Iceberg catalog in an SQLite file on this machine: `catalog.db` and `warehouse/` in the lake's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.port import CatalogAdapter
from wellspring.settings import SettingsSection

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog


class SqliteCatalogSettings(SettingsSection):
    """[lake.options] of the catalog `sqlite`: it has none."""


def open_sqlite_catalog(_settings: SqliteCatalogSettings, folder: Path, namespace: str) -> IcebergCatalog:
    """Return a namespace of the catalog in a folder; the folder and its files are created by the first write."""

    def open_catalog() -> SqlCatalog:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy import URL

        from wellspring.lake.iceberg.fsync_io import FILE_IO_CLASS

        folder.mkdir(parents=True, exist_ok=True)
        return SqlCatalog(
            "wellspring",
            # URL.create quotes special characters of the folder's name (#, %, a space).
            uri=URL.create("sqlite", database=str(folder / "catalog.db")).render_as_string(),
            warehouse=str(folder / "warehouse"),
            **{"py-io-impl": FILE_IO_CLASS},
        )

    return IcebergCatalog(namespace, open_catalog, exists=(folder / "catalog.db").exists)


SQLITE = CatalogAdapter(SqliteCatalogSettings, open_sqlite_catalog, packages=("pyarrow", "pyiceberg"))

"""Open a lake on the SQLite catalog of a folder, as the composition root does for the worker."""

from pathlib import Path

from tests.builders.leases import ScriptedFence
from wellspring.lake.editions import EditionStore
from wellspring.lake.file_pins import PINS_FOLDER, FilePins
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.iceberg.sqlite import SqliteCatalogSettings, open_sqlite_catalog
from wellspring.lake.lake import Lake
from wellspring.lake.port import BUILT_NAMESPACE, LANDED_NAMESPACE
from wellspring.records.clock import Clock
from wellspring.records.tables import ParquetTable, TableInput
from wellspring.stores.locks.port import WriteFence
from wellspring.stores.objects.disk import DiskContentStore


def open_catalog(folder: Path, namespace: str = LANDED_NAMESPACE) -> IcebergCatalog:
    return open_sqlite_catalog(SqliteCatalogSettings(), folder, namespace)


def open_lake(folder: Path, *, clock: Clock, tenant: str = "acme", fence: WriteFence | None = None) -> Lake:
    """fence: one that refuses nothing unless a test passes another."""
    catalogs = open_catalog(folder, LANDED_NAMESPACE), open_catalog(folder, BUILT_NAMESPACE)
    return Lake(
        *catalogs,
        EditionStore(folder / "editions"),
        pins=FilePins(DiskContentStore(folder / PINS_FOLDER)),
        tenant=tenant,
        clock=clock,
        fence=fence or ScriptedFence(),
        derived=folder,
    )


def stored_files(table: TableInput) -> tuple[str, ...]:
    """Return the files of a stored table."""
    assert isinstance(table, ParquetTable)
    return table.files

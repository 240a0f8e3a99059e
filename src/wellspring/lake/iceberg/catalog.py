"""Catalog of Iceberg tables: one namespace of any catalog that pyiceberg can open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from wellspring.errors import NotFound, suggest_name
from wellspring.lake.iceberg.schemas import plain_schema
from wellspring.lake.iceberg.table import IcebergTable, translate_write_conflicts
from wellspring.lake.port import BUILT_NAMESPACE, MAIN_BRANCH

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog as PyIcebergCatalog

TABLE_PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # Tokens are mostly distinct: a small dictionary limit makes files smaller and a third faster to write.
    "write.parquet.dict-size-bytes": "131072",
    # Bounds of complete drop ids, not of the first 16 characters: a scan for one drop then opens one file.
    "write.metadata.metrics.column.drop_id": "full",
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}


class IcebergCatalog:
    """One namespace of a pyiceberg catalog, opened when it is first needed; one writer at a time.

    open_catalog: opens it, and creates what it needs. exists: tells whether there is anything to read.
    read_versions: reads the metadata locations of a namespace's tables at once; without it each table is loaded.
    """

    def __init__(
        self,
        namespace: str,
        open_catalog: Callable[[], PyIcebergCatalog],
        *,
        exists: Callable[[], bool] = lambda: True,
        read_versions: Callable[[PyIcebergCatalog, str], Mapping[str, str]] | None = None,
    ) -> None:
        self.namespace = namespace
        self._open_catalog = open_catalog
        self._exists = exists
        self._read_versions = read_versions

    @cached_property
    def _catalog(self) -> PyIcebergCatalog:
        _share_snapshots()
        catalog = self._open_catalog()
        catalog.create_namespace_if_not_exists(self.namespace)
        return catalog

    def table_names(self) -> tuple[str, ...]:
        if not self._exists():
            return ()
        return tuple(sorted(name for _, name in self._catalog.list_tables(self.namespace)))

    def table_versions(self) -> Mapping[str, str]:
        if self._read_versions is None or not self._exists():
            return {name: self.load_table(name).iceberg.metadata_location for name in self.table_names()}
        return dict(sorted(self._read_versions(self._catalog, self.namespace).items()))

    def load_table(self, name: str) -> IcebergTable:
        if name not in (existing := self.table_names()):
            raise NotFound(f"no table {name!r} in the lake", fix=suggest_name(name, list(existing)))
        return IcebergTable(name, self._catalog.load_table((self.namespace, name)))

    def prepare_table(self, name: str, schema: pa.Schema) -> IcebergTable:
        if name not in self.table_names():
            with translate_write_conflicts(name):
                self._catalog.create_table(
                    (self.namespace, name), schema=plain_schema(schema), properties=TABLE_PROPERTIES
                )
        table = self.load_table(name)
        if self.namespace == BUILT_NAMESPACE:
            table.drop_columns(schema)
        elif not table.has_rows():
            # No published or staged row holds the lake to the types of a contract that was mended since.
            table.drop_columns(schema, keep_missing=True)
        table.evolve_schema(schema)
        # Iceberg refuses a branch of a table without a snapshot: an empty snapshot is the root of all others.
        if table.branch_head(MAIN_BRANCH) is None:
            with translate_write_conflicts(name):
                table.iceberg.append(plain_schema(schema).empty_table())
        return table

    def close(self) -> None:
        if "_catalog" in self.__dict__:
            self._catalog.close()
            del self.__dict__["_catalog"]


def _share_snapshots() -> None:
    """Let copies of a table's metadata share its snapshots, which are immutable.

    pyiceberg copies the whole metadata some 28 times for one append; in a table of a thousand drops each
    further drop would then need seconds.
    """
    from pyiceberg.table.snapshots import Snapshot, SnapshotLogEntry

    # The classes do not declare the method that the standard library looks for.
    for immutable_class in (Snapshot, SnapshotLogEntry):
        immutable_class.__deepcopy__ = lambda self, memo=None: self  # pyright: ignore[reportAttributeAccessIssue]

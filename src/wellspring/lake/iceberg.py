"""Iceberg adapter of the lake: one catalog on SQLite, and tables that grow on a branch before they are published.

Each table has two branches. `audit` holds rows that were written and not yet read back; `staging` holds audited rows
that are not yet published. Each snapshot has `wellspring.*` properties that name the drop it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, suggest_name

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

LANDED_NAMESPACE, BUILT_NAMESPACE = "landed", "built"
MAIN_BRANCH, STAGING_BRANCH, AUDIT_BRANCH = "main", "staging", "audit"
PROPERTY_PREFIX = "wellspring."
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


class SnapshotInfo(NamedTuple):
    """One snapshot of a table: its `wellspring.*` properties without the prefix, and the table's number of rows."""

    snapshot_id: int
    properties: Mapping[str, str]
    rows: int


class Catalog:
    """The catalog (`catalog.db`) and the files (`warehouse/`) of one level of a lake; one writer at a time."""

    def __init__(self, folder: Path, namespace: str = LANDED_NAMESPACE) -> None:
        self.folder = folder
        self.namespace = namespace

    @cached_property
    def _catalog(self) -> SqlCatalog:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy import URL

        from wellspring.lake.fsync_io import FILE_IO_CLASS

        self.folder.mkdir(parents=True, exist_ok=True)
        catalog = SqlCatalog(
            "wellspring",
            # URL.create quotes special characters of the folder's name (#, %, a space).
            uri=URL.create("sqlite", database=str(self.folder / "catalog.db")).render_as_string(),
            warehouse=str(self.folder / "warehouse"),
            **{"py-io-impl": FILE_IO_CLASS},
        )
        catalog.create_namespace_if_not_exists(self.namespace)
        return catalog

    def table_names(self) -> tuple[str, ...]:
        """List the tables, sorted."""
        if not (self.folder / "catalog.db").exists():
            return ()
        return tuple(sorted(name for _, name in self._catalog.list_tables(self.namespace)))

    def load_table(self, name: str) -> LakeTable:
        """Open a table in its current state. Raises NotFound with the nearest name."""
        if name not in (existing := self.table_names()):
            raise NotFound(f"no table {name!r} in the lake", fix=suggest_name(name, list(existing)))
        return LakeTable(name, self._catalog.load_table((self.namespace, name)))

    def prepare_table(self, name: str, schema: pa.Schema) -> LakeTable:
        """Open a table that can hold a schema: create it, or add the missing columns.

        Raises Refused when the type of a column differs from the table's. A built table is rewritten each time, so its
        columns are replaced; each snapshot keeps the schema that it was written with.
        """
        if name not in self.table_names():
            with _translate_write_conflicts(name):
                self._catalog.create_table(
                    (self.namespace, name), schema=_plain_schema(schema), properties=TABLE_PROPERTIES
                )
        table = self.load_table(name)
        if self.namespace == BUILT_NAMESPACE:
            table.drop_columns(schema)
        table.evolve_schema(schema)
        # Iceberg refuses a branch of a table without a snapshot: an empty snapshot is the root of all others.
        if table.branch_head(MAIN_BRANCH) is None:
            with _translate_write_conflicts(name):
                table.iceberg.append(_plain_schema(schema).empty_table())
        return table

    def close(self) -> None:
        """Close the catalog file."""
        if "_catalog" in self.__dict__:
            self._catalog.close()
            del self.__dict__["_catalog"]


class LakeTable:
    """One table in the state in which it was opened, updated by each change made through this object."""

    def __init__(self, name: str, iceberg: Table) -> None:
        self.name = name
        self.iceberg = iceberg

    def branch_head(self, branch: str) -> int | None:
        """Return the newest snapshot of a branch."""
        ref = self.iceberg.refs().get(branch)
        return None if ref is None else ref.snapshot_id

    def ancestry(self, snapshot_id: int | None) -> tuple[SnapshotInfo, ...]:
        """List a snapshot and its ancestors down to the table's root, newest first."""
        snapshots_by_id = {snapshot.snapshot_id: snapshot for snapshot in self.iceberg.metadata.snapshots}
        ancestors: list[SnapshotInfo] = []
        while snapshot_id is not None and (snapshot := snapshots_by_id.get(snapshot_id)) is not None:
            summary: dict[str, str] = snapshot.summary.additional_properties if snapshot.summary else {}
            properties = {
                name.removeprefix(PROPERTY_PREFIX): value
                for name, value in summary.items()
                if name.startswith(PROPERTY_PREFIX)
            }
            ancestors.append(SnapshotInfo(snapshot_id, properties, int(summary.get("total-records", "0"))))
            snapshot_id = snapshot.parent_snapshot_id
        return tuple(ancestors)

    def descends_from(self, snapshot_id: int | None, ancestor_id: int | None) -> bool:
        """Return whether a snapshot equals or descends from another."""
        return any(ancestor.snapshot_id == ancestor_id for ancestor in self.ancestry(snapshot_id))

    def evolve_schema(self, schema: pa.Schema) -> None:
        """Add missing columns and widen decimals. Raises Refused for any other difference."""
        table_schema = self.iceberg.schema().as_arrow()
        types_by_name = {field.name: field.type for field in _plain_schema(table_schema)}
        new_schema = _plain_schema(schema)
        for field in new_schema:
            current_type = types_by_name.get(field.name, field.type)
            if current_type != field.type and not _is_widening(current_type, field.type):
                raise Refused(
                    f"column {field.name} of {self.name} is {current_type} in the lake, {field.type} in the contract",
                    fix="rename the column, or restore its type; published rows are never rewritten",
                )
        if any(types_by_name.get(field.name) != field.type for field in new_schema):
            with _translate_write_conflicts(self.name), self.iceberg.update_schema() as change:
                change.union_by_name(new_schema)

    def drop_columns(self, schema: pa.Schema) -> None:
        """Drop the columns that are missing from a schema or have another type in it."""
        types_by_name = {field.name: field.type for field in _plain_schema(schema)}
        dropped_names = [
            field.name
            for field in _plain_schema(self.iceberg.schema().as_arrow())
            if types_by_name.get(field.name) != field.type
        ]
        if dropped_names:
            with (
                _translate_write_conflicts(self.name),
                self.iceberg.update_schema(allow_incompatible_changes=True) as change,
            ):
                for name in dropped_names:
                    change.delete_column(name)

    def empty_snapshot_id(self) -> int:
        """Return the id of the table's first snapshot, which is empty."""
        return min(self.iceberg.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0).snapshot_id

    def set_current(self, snapshot_id: int, tag: str) -> None:
        """Make a whole-table snapshot current and tag it so that it never expires; idempotent."""
        if self.branch_head(MAIN_BRANCH) == snapshot_id == self.branch_head(tag):
            return
        if self.iceberg.snapshot_by_id(snapshot_id) is None:
            raise CorruptedError(
                f"snapshot {snapshot_id} of {self.name} is missing", fix="stop; restore the lake from a copy"
            )
        change = self.iceberg.manage_snapshots().set_current_snapshot(snapshot_id=snapshot_id)
        if self.branch_head(tag) is None:
            change = change.create_tag(snapshot_id, tag)
        if self.branch_head(AUDIT_BRANCH) == snapshot_id:
            change = change.remove_branch(AUDIT_BRANCH)
        with _translate_write_conflicts(self.name):
            change.commit()

    def append_rows(self, rows: pa.Table, parent_id: int, properties: Mapping[str, str]) -> int:
        """Append rows to the audit branch on top of `parent_id`, and return the id of the new snapshot."""
        with _translate_write_conflicts(self.name):
            self.iceberg.manage_snapshots().create_branch(parent_id, AUDIT_BRANCH).commit()
            self.iceberg.append(
                rows, branch=AUDIT_BRANCH, snapshot_properties={PROPERTY_PREFIX + k: v for k, v in properties.items()}
            )
        head = self.branch_head(AUDIT_BRANCH)
        if head is None:
            raise CorruptedError(
                f"the rows just written to {self.name} are missing", fix="check the disk that holds the lake"
            )
        return head

    def rows_added_by(self, snapshot_id: int) -> pa.Table:
        """Read the rows that one snapshot added, from its files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A scan that filters 150,000 drop ids costs far more than reading the one file that contains them.
        file_tables: list[pa.Table] = []
        for file in self._data_files_added_by(snapshot_id):
            with self.iceberg.io.new_input(file.file_path).open() as stream:
                file_tables.append(pq.read_table(stream))
        return _cast_to_plain(
            pa.concat_tables(file_tables) if file_tables else self.iceberg.schema().as_arrow().empty_table()
        )

    def move_staging(self, snapshot_id: int) -> None:
        """Move the staging branch to an audited snapshot."""
        with _translate_write_conflicts(self.name):
            change = self.iceberg.manage_snapshots().create_branch(snapshot_id, STAGING_BRANCH)
            (change.remove_branch(AUDIT_BRANCH) if self.branch_head(AUDIT_BRANCH) is not None else change).commit()

    def drop_branch(self, branch: str) -> None:
        """Drop a branch; its rows were never visible to a reader."""
        if self.branch_head(branch) is not None:
            with _translate_write_conflicts(self.name):
                self.iceberg.manage_snapshots().remove_branch(branch).commit()

    def publish(self, snapshot_id: int, tag: str) -> None:
        """Make a snapshot current and tag it so that it never expires; idempotent.

        Raises CorruptedError when the snapshot does not contain all rows of main.
        """
        main = self.branch_head(MAIN_BRANCH)
        if self.descends_from(main, snapshot_id) and self.branch_head(tag) == snapshot_id:
            return
        if not self.descends_from(snapshot_id, main) and not self.descends_from(main, snapshot_id):
            raise CorruptedError(
                f"snapshot {snapshot_id} of {self.name} does not contain all published rows",
                fix="stop; find the other writer of this lake",
            )
        change = self.iceberg.manage_snapshots()
        if self.branch_head(tag) is None:
            change = change.create_tag(snapshot_id, tag)
        if self.branch_head(STAGING_BRANCH) == snapshot_id:
            change = change.remove_branch(STAGING_BRANCH)
        if main != snapshot_id and self.descends_from(snapshot_id, main):
            change = change.set_current_snapshot(snapshot_id=snapshot_id)
        with _translate_write_conflicts(self.name):
            change.commit()

    def read_snapshot(self, snapshot_id: int, columns: tuple[str, ...] | None) -> pa.Table:
        """Read a snapshot. Raises NotFound with the nearest column."""
        scan = self.iceberg.scan(snapshot_id=snapshot_id)
        column_names = [field.name for field in scan.projection().fields]
        for column in columns or ():
            if column not in column_names:
                raise NotFound(f"no column {column!r} in {self.name}", fix=suggest_name(column, column_names))
        return _cast_to_plain((scan if columns is None else scan.select(*columns)).to_arrow())

    def data_files(self, snapshot_id: int) -> list[str]:
        """List the Parquet files of a snapshot, as local paths."""
        return sorted(task.file.file_path for task in self.iceberg.scan(snapshot_id=snapshot_id).plan_files())

    def _data_files_added_by(self, snapshot_id: int) -> list[DataFile]:
        snapshot = self.iceberg.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise NotFound(f"{self.name} has no snapshot {snapshot_id}", fix="check the snapshot id")
        return [
            entry.data_file
            for manifest in snapshot.manifests(self.iceberg.io)
            if manifest.added_snapshot_id == snapshot_id
            for entry in manifest.fetch_manifest_entry(self.iceberg.io)
            if entry.snapshot_id == snapshot_id
        ]


@contextmanager
def _translate_write_conflicts(name: str) -> Iterator[None]:
    """Raise Unavailable for Iceberg's errors on concurrent writes: CommitFailedException, or a bare ValueError."""
    from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError):
        raise Unavailable(f"another writer changed {name}", fix="try again when the other run has ended") from None
    except ValueError as exc:
        if "sequence number" not in str(exc):
            raise
        raise Unavailable(f"another writer changed {name}", fix="try again when the other run has ended") from None


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with string for large_string, all columns nullable and no metadata."""
    import pyarrow as pa

    def plain_type(kind: Any) -> Any:
        return pa.string() if pa.types.is_large_string(kind) else kind

    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def _cast_to_plain(rows: pa.Table) -> pa.Table:
    """Cast rows to the plain types: pyiceberg returns string, or large_string for an empty table."""
    return rows.cast(_plain_schema(rows.schema))


def _is_widening(old: pa.DataType, new: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return old.scale == new.scale and new.precision > old.precision
    return (old, new) in {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}

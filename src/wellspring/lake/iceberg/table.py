"""One Iceberg table: snapshots with `wellspring.*` properties, branches and tags, read and written with pyiceberg."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, suggest_name
from wellspring.lake.iceberg import orphan_files
from wellspring.lake.iceberg.data_files import (
    hash_data_file,
    read_data_files,
    read_file_columns,
    take_written_file,
    write_data_files,
)
from wellspring.lake.iceberg.schemas import is_widening, plain_schema
from wellspring.lake.port import AUDIT_BRANCH, MAIN_BRANCH, STAGING_BRANCH, PinFiles, Snapshot
from wellspring.records.tables import ParquetTable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import DataScan
    from pyiceberg.table import Table as PyIcebergTable

    from wellspring.lake.file_pins import PinnedFile
    from wellspring.records.tables import TableInput

PROPERTY_PREFIX = "wellspring."


class IcebergTable:
    """One table in the state in which it was opened, updated by each change made through this object."""

    def __init__(self, name: str, iceberg: PyIcebergTable) -> None:
        self.name = name
        self.iceberg = iceberg

    def branch_head(self, branch: str) -> int | None:
        """Return the newest snapshot of a branch."""
        ref = self.iceberg.refs().get(branch)
        return None if ref is None else ref.snapshot_id

    def iter_ancestry(self, snapshot_id: int | None) -> Iterator[Snapshot]:
        """Yield a snapshot and its ancestors down to the table's root, newest first."""
        snapshots_by_id = {snapshot.snapshot_id: snapshot for snapshot in self.iceberg.metadata.snapshots}
        while snapshot_id is not None and (snapshot := snapshots_by_id.get(snapshot_id)) is not None:
            summary: dict[str, str] = snapshot.summary.additional_properties if snapshot.summary else {}
            properties = {
                name.removeprefix(PROPERTY_PREFIX): value
                for name, value in summary.items()
                if name.startswith(PROPERTY_PREFIX)
            }
            rows = int(summary.get("total-records", "0"))
            yield Snapshot(snapshot_id, properties, rows, snapshot.timestamp_ms)
            snapshot_id = snapshot.parent_snapshot_id

    def has_snapshot(self, snapshot_id: int) -> bool:
        """Return whether the table holds a snapshot."""
        return self.iceberg.snapshot_by_id(snapshot_id) is not None

    def descends_from(self, snapshot_id: int | None, ancestor_id: int | None) -> bool:
        """Return whether a snapshot equals or descends from another."""
        parent_ids = {snapshot.snapshot_id: snapshot.parent_snapshot_id for snapshot in self.iceberg.metadata.snapshots}
        while snapshot_id in parent_ids and snapshot_id != ancestor_id:
            snapshot_id = parent_ids[snapshot_id]
        return snapshot_id in parent_ids and snapshot_id == ancestor_id

    def evolve_schema(self, schema: pa.Schema) -> None:
        """Add missing columns and widen decimals. Raises Refused for any other difference.

        A column that is wider already stays so: rows of an earlier version of their contract fit into it.
        """
        import pyarrow as pa

        table_schema = self.iceberg.schema().as_arrow()
        types_by_name = {field.name: field.type for field in plain_schema(table_schema)}
        new_schema = plain_schema(schema)
        for field in new_schema:
            current_type = types_by_name.get(field.name, field.type)
            if current_type != field.type and not (
                is_widening(current_type, field.type) or is_widening(field.type, current_type)
            ):
                raise Refused.because(
                    f"dataset:{self.name}",
                    "incompatible_schema",
                    f"column {field.name} of {self.name} is {current_type} in the lake, {field.type} in the contract",
                    fix="rename the column, or restore its type; published rows are never rewritten",
                )
        added = [
            field
            for field in new_schema
            if field.name not in types_by_name or is_widening(types_by_name[field.name], field.type)
        ]
        if added:
            with translate_write_conflicts(self.name), self.iceberg.update_schema() as change:
                change.union_by_name(pa.schema(added))

    def has_rows(self) -> bool:
        """Return whether rows were published, or are staged."""
        main, staging = self.branch_head(MAIN_BRANCH), self.branch_head(STAGING_BRANCH)
        return staging is not None or (main is not None and main != self.root_snapshot_id())

    def drop_columns(self, schema: pa.Schema, *, keep_missing: bool = False) -> None:
        """Drop the columns that have another type in a schema, and those that are missing from it unless they stay."""
        types_by_name = {field.name: field.type for field in plain_schema(schema)}
        dropped_names = [
            field.name
            for field in plain_schema(self.iceberg.schema().as_arrow())
            if types_by_name.get(field.name) != field.type and not (keep_missing and field.name not in types_by_name)
        ]
        if dropped_names:
            with (
                translate_write_conflicts(self.name),
                self.iceberg.update_schema(allow_incompatible_changes=True) as change,
            ):
                for name in dropped_names:
                    change.delete_column(name)

    def root_snapshot_id(self) -> int:
        """Return the id of the table's first snapshot, which is empty."""
        return min(self.iceberg.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0).snapshot_id

    def set_current(self, snapshot_id: int, tag: str) -> None:
        """Make a whole-table snapshot current and tag it so that it never expires; idempotent."""
        if self.branch_head(MAIN_BRANCH) == snapshot_id == self.branch_head(tag):
            return
        self._require_snapshot(snapshot_id)
        change = self.iceberg.manage_snapshots().set_current_snapshot(snapshot_id=snapshot_id)
        if self.branch_head(tag) is None:
            change = change.create_tag(snapshot_id, tag)
        if self.branch_head(AUDIT_BRANCH) == snapshot_id:
            change = change.remove_branch(AUDIT_BRANCH)
        with translate_write_conflicts(self.name):
            change.commit()

    def keep_snapshot(self, snapshot_id: int, tag: str) -> None:
        """Tag a whole-table snapshot so that it never expires, and leave main; idempotent."""
        if self.branch_head(tag) == snapshot_id:
            return
        self._require_snapshot(snapshot_id)
        change = self.iceberg.manage_snapshots().create_tag(snapshot_id, tag)
        if self.branch_head(AUDIT_BRANCH) == snapshot_id:
            change = change.remove_branch(AUDIT_BRANCH)
        with translate_write_conflicts(self.name):
            change.commit()

    def _require_snapshot(self, snapshot_id: int) -> None:
        if not self.has_snapshot(snapshot_id):
            raise CorruptedError(
                f"snapshot {snapshot_id} of {self.name} is missing", fix="stop; restore the lake from a copy"
            )

    def append_rows(
        self,
        rows: pa.RecordBatchReader,
        parent_id: int,
        properties: Mapping[str, str],
        pin_files: PinFiles | None = None,
    ) -> int:
        """Append rows to the audit branch on top of `parent_id`, and return the id of the new snapshot."""
        with translate_write_conflicts(self.name):
            # Before the commit: when the rows end in an error, the files are orphans and no branch has changed.
            files = list(write_data_files(self.iceberg, rows))
            if pin_files is not None:
                pinned = [take_written_file(self.iceberg, file.file_path) for file in files]
                properties = {**properties, **pin_files(pinned)}
            snapshot_properties = {PROPERTY_PREFIX + name: value for name, value in properties.items()}
            self.iceberg.manage_snapshots().create_branch(parent_id, AUDIT_BRANCH).commit()
            with self.iceberg.transaction() as change:
                update = change.update_snapshot(snapshot_properties=snapshot_properties, branch=AUDIT_BRANCH)
                with update.merge_append() as append:
                    for file in files:
                        append.append_data_file(file)
        head = self.branch_head(AUDIT_BRANCH)
        if head is None:
            raise CorruptedError(
                f"the rows just written to {self.name} are missing", fix="check the disk that holds the lake"
            )
        return head

    def rows_added_by(self, snapshot_id: int) -> pa.RecordBatchReader:
        """Read the rows that one snapshot added, from its files, in the order in which they were appended."""
        # A scan that filters 150,000 drop ids costs far more than reading the files that contain them.
        return read_data_files(self.iceberg, self._data_files_added_by(snapshot_id))

    def move_staging(self, snapshot_id: int) -> None:
        """Move the staging branch to an audited snapshot."""
        with translate_write_conflicts(self.name):
            change = self.iceberg.manage_snapshots().create_branch(snapshot_id, STAGING_BRANCH)
            (change.remove_branch(AUDIT_BRANCH) if self.branch_head(AUDIT_BRANCH) is not None else change).commit()

    def drop_branch(self, branch: str) -> None:
        """Drop a branch; its rows were never visible to a reader."""
        if self.branch_head(branch) is not None:
            with translate_write_conflicts(self.name):
                self.iceberg.manage_snapshots().remove_branch(branch).commit()

    def list_tags(self) -> tuple[str, ...]:
        """List the tags, sorted."""
        from pyiceberg.table.refs import SnapshotRefType

        refs = self.iceberg.refs().items()
        return tuple(sorted(name for name, ref in refs if ref.snapshot_ref_type == SnapshotRefType.TAG))

    def remove_tag(self, tag: str) -> None:
        """Remove a tag, if it exists: its snapshot expires unless something else names it."""
        if self.branch_head(tag) is not None:
            with translate_write_conflicts(self.name):
                self.iceberg.manage_snapshots().remove_tag(tag).commit()

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
        with translate_write_conflicts(self.name):
            change.commit()

    def read_snapshot(self, snapshot_id: int, columns: tuple[str, ...] | None) -> pa.Table:
        """Read a snapshot. Raises NotFound with the nearest column."""
        scan = self.iceberg.scan(snapshot_id=snapshot_id)
        column_names = [field.name for field in scan.projection().fields]
        for column in columns or ():
            if column not in column_names:
                raise NotFound(f"no column {column!r} in {self.name}", fix=suggest_name(column, column_names))
        return _read_scan(scan if columns is None else scan.select(*columns))

    def open_snapshot(self, snapshot_id: int, files: Collection[str] | None = None) -> TableInput:
        """Return a snapshot as input of a query engine: its files, or its rows when the files are elsewhere.

        files: only these of its files; listing all of them reads their manifests.
        """
        scan = self.iceberg.scan(snapshot_id=snapshot_id)
        paths = self.list_files(snapshot_id) if files is None else sorted(files)
        # Without a file an engine cannot see the columns.
        if not paths or not all(path.startswith("/") for path in paths):
            return _read_scan(scan)
        return ParquetTable(self.name, tuple(paths), plain_schema(scan.projection().as_arrow()))

    def list_files(self, snapshot_id: int) -> tuple[str, ...]:
        """List all data files of a snapshot."""
        tasks = self.iceberg.scan(snapshot_id=snapshot_id).plan_files()
        return tuple(sorted(task.file.file_path for task in tasks))

    def hash_file(self, path: str) -> PinnedFile:
        """Return size and SHA-256 of a data file, read once per process while it does not change."""
        return hash_data_file(self.iceberg, path)

    def files_added_by(self, snapshot_id: int) -> tuple[str, ...]:
        """List the data files that one snapshot added."""
        return tuple(file.file_path for file in self._data_files_added_by(snapshot_id))

    def read_file_columns(self, file: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read columns of a data file, batch by batch, cast to a schema; a column that the file lacks is null."""
        return read_file_columns(self.iceberg, file, schema)

    def remove_orphan_files(self, *, older_than: datetime) -> int:
        """Remove files that no branch and no tag references, older than an instant, and return their number."""
        return orphan_files.remove_orphan_files(self.iceberg, older_than=older_than)

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


def _read_scan(scan: DataScan) -> pa.Table:
    """Read the rows of a scan with the plain types of the snapshot, also where all its files have narrower ones."""
    return scan.to_arrow().cast(plain_schema(scan.projection().as_arrow()))


@contextmanager
def translate_write_conflicts(name: str) -> Iterator[None]:
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

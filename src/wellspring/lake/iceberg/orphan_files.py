"""Removal of files that failed appends left in storage: no snapshot on any branch or tag references them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pyiceberg.io.pyarrow import PyArrowFileIO
    from pyiceberg.table import Table as PyIcebergTable


def remove_orphan_files(iceberg: PyIcebergTable, *, older_than: datetime) -> int:
    """Remove unreferenced files of one table and return their number.

    Call it after recovery, in the job that holds the table's level: by then the snapshots of open intents are on main.
    older_than: the start of this run; newer files may still be in use by a writer.
    """
    from pyarrow import fs

    _expire_unreachable(iceberg)
    file_io = cast("PyArrowFileIO", iceberg.io)
    scheme, host, folder = file_io.parse_location(iceberg.location(), file_io.properties)
    filesystem = file_io.fs_by_scheme(scheme, host)
    referenced = {file_io.parse_location(file, file_io.properties)[2] for file in _referenced_files(iceberg)}
    oldest_kept = older_than.timestamp() * 1e9
    orphans = [
        file.path
        for file in filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
        if file.type == fs.FileType.File and file.path not in referenced and file.mtime_ns < oldest_kept
    ]
    for path in orphans:
        filesystem.delete_file(path)
    return len(orphans)


def _expire_unreachable(iceberg: PyIcebergTable) -> None:
    """Expire the snapshots that no branch or tag reaches: failed audits and discarded drops."""
    parents = {snapshot.snapshot_id: snapshot.parent_snapshot_id for snapshot in iceberg.metadata.snapshots}
    reachable_ids: set[int] = set()
    for ref in iceberg.refs().values():
        snapshot_id: int | None = ref.snapshot_id
        while snapshot_id in parents and snapshot_id not in reachable_ids:
            reachable_ids.add(snapshot_id)
            snapshot_id = parents[snapshot_id]
    if unreachable_ids := [snapshot_id for snapshot_id in parents if snapshot_id not in reachable_ids]:
        iceberg.maintenance.expire_snapshots().by_ids(unreachable_ids).commit()


def _referenced_files(iceberg: PyIcebergTable) -> Iterator[str]:
    yield iceberg.metadata_location
    yield from (entry.metadata_file for entry in iceberg.metadata.metadata_log)
    for snapshot in iceberg.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(iceberg.io):
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False):
                yield entry.data_file.file_path

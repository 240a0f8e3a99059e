"""Removal of files that failed appends left on the disk: no snapshot on any branch or tag references them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from wellspring.lake.iceberg import LakeTable


def remove_orphan_files(table: LakeTable, *, older_than: datetime) -> int:
    """Remove unreferenced files of one table and return their number.

    Call it after recovery, under the writer lock: by then the snapshots of open intents are on main. older_than: the
    start of this run; newer files may still be in use by a writer.
    """
    _expire_unreachable(table)
    referenced = set(_referenced_files(table))
    removed_count = 0
    for file in sorted(Path(table.iceberg.location()).rglob("*")):
        if file.is_file() and str(file) not in referenced and file.stat().st_mtime < older_than.timestamp():
            file.unlink()
            removed_count += 1
    return removed_count


def _expire_unreachable(table: LakeTable) -> None:
    """Expire the snapshots that no branch or tag reaches: failed audits and discarded drops."""
    reachable_ids = {
        snapshot_info.snapshot_id
        for ref in table.iceberg.refs().values()
        for snapshot_info in table.ancestry(ref.snapshot_id)
    }
    unreachable_ids = [
        snapshot.snapshot_id
        for snapshot in table.iceberg.metadata.snapshots
        if snapshot.snapshot_id not in reachable_ids
    ]
    if unreachable_ids:
        table.iceberg.maintenance.expire_snapshots().by_ids(unreachable_ids).commit()


def _referenced_files(table: LakeTable) -> Iterator[str]:
    iceberg = table.iceberg
    yield iceberg.metadata_location
    yield from (entry.metadata_file for entry in iceberg.metadata.metadata_log)
    for snapshot in iceberg.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(iceberg.io):
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False):
                yield entry.data_file.file_path

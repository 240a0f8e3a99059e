"""Removes what failed appends left on the disk: files that no snapshot on any branch or tag names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from wellspring.data.iceberg import LakeTable


def sweep(table: LakeTable, *, older_than: datetime) -> int:
    """Remove the files of one table that nothing names and that are older, and return how many those were.

    Call it after recovery, under the writer lock: what an open intent names is then on main. older_than: the start
    of this run; a file younger than that is perhaps being written.
    """
    _forget_unreachable(table)
    named = set(_named(table))
    gone = 0
    for file in sorted(Path(table.iceberg.location()).rglob("*")):
        if file.is_file() and str(file) not in named and file.stat().st_mtime < older_than.timestamp():
            file.unlink()
            gone += 1
    return gone


def _forget_unreachable(table: LakeTable) -> None:
    """Take out of the table the snapshots that no branch and no tag leads to: failed audits, discarded drops."""
    kept = {link.snapshot_id for ref in table.iceberg.refs().values() for link in table.line(ref.snapshot_id)}
    lost = [each.snapshot_id for each in table.iceberg.metadata.snapshots if each.snapshot_id not in kept]
    if lost:
        table.iceberg.maintenance.expire_snapshots().by_ids(lost).commit()


def _named(table: LakeTable) -> Iterator[str]:
    iceberg = table.iceberg
    yield iceberg.metadata_location
    yield from (entry.metadata_file for entry in iceberg.metadata.metadata_log)
    for snapshot in iceberg.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(iceberg.io):
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False):
                yield entry.data_file.file_path

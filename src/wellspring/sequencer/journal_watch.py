"""Notice that a journal has grown, by the sizes and times of its files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wellspring.trust.ledger import journal


class _NewestSegment(NamedTuple):
    """The newest file of a journal. folder_time: when a file was last created in its folder, in nanoseconds."""

    folder_time: int
    path: Path | None
    size: int


class JournalWatch:
    """Watches all journals below a folder. A poll costs two `stat` calls for each journal in which nothing happened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest: dict[str, _NewestSegment] = {}

    def has_grown(self) -> bool:
        """Return whether any journal has changed since the last call; at the first call, whether there is one."""
        newest = {
            service: _find_newest(self._folder / service, self._newest.get(service))
            for service in journal.list_services(self._folder)
        }
        changed = newest != self._newest
        self._newest = newest
        return changed


def _find_newest(folder: Path, last_seen: _NewestSegment | None) -> _NewestSegment:
    folder_time = folder.stat().st_mtime_ns
    path = last_seen.path if last_seen else None
    # The time of a folder is coarse: a full segment may have got its successor at the time that was seen before.
    if (
        last_seen is None
        or path is None
        or last_seen.folder_time != folder_time
        or last_seen.size >= journal.SEGMENT_BYTES
    ):
        segments = journal.list_segments(folder)
        path = segments[-1].path if segments else None
    return _NewestSegment(folder_time, path, path.stat().st_size if path else 0)

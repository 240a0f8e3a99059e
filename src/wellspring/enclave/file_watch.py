"""Remember since when each listed file has had its present version, for files whose date says nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from wellspring.data.sources.port import RemoteFile


class FileWatch:
    """The present version of each file of a source, and when it was first listed. Only in memory."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, tuple[str, datetime]]] = {}

    def observe_files(self, source: str, files: Iterable[RemoteFile], now: datetime) -> None:
        """Note what a listing of a source shows; files that are gone are forgotten."""
        earlier = self._versions.get(source, {})
        current: dict[str, tuple[str, datetime]] = {}
        for file in files:
            version = file_version(file)
            unchanged = file.name in earlier and earlier[file.name][0] == version
            current[file.name] = earlier[file.name] if unchanged else (version, now)
        self._versions[source] = current

    def is_settled(self, source: str, file: RemoteFile, settle_seconds: float, now: datetime) -> bool:
        """Return whether a file is finished.

        One that is dated ahead, or not at all, must not have changed for `settle_seconds`.
        """
        if file.still_writing:
            return False
        if (file.is_dated and file.seconds_ahead <= 0) or settle_seconds <= 0:
            return True
        version, first_listed = self._versions.get(source, {}).get(file.name, ("", now))
        return version == file_version(file) and (now - first_listed).total_seconds() >= settle_seconds

    def listed_version(self, source: str, name: str) -> str:
        """Return the version of a file at the latest listing; empty if it was not listed."""
        return self._versions.get(source, {}).get(name, ("",))[0]


def file_version(file: RemoteFile) -> str:
    """Return a digest of what changes when a file is written again: size, modification time, identity."""
    state = f"{file.size}/{file.modified.isoformat()}/{file.identity}"
    return hashlib.sha256(state.encode()).hexdigest()[:12]

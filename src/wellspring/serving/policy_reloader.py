"""Reload the project's Cedar policies when a policy file changes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from wellspring.errors import ProjectError
from wellspring.records.clock import Clock
from wellspring.trust import policy
from wellspring.trust.policy import PolicySet

CHECK_INTERVAL = timedelta(seconds=1)
"""Minimum time between two checks of the policy files."""


class PolicyReloader:
    """Reload the project's Cedar policies at most once a second.

    If a policy file is unreadable or invalid, the last valid set stays active, the error is in `last_error`, and the
    next check tries again.
    """

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._file_stats = self._stat_files()
        self._checked_at = clock.now()
        self._current = policy.load_policies(folder)
        self.last_error: ProjectError | None = None

    def current(self) -> PolicySet:
        """Return the active policy set; reload it first if a file has changed."""
        now = self._clock.now()
        if abs(now - self._checked_at) >= CHECK_INTERVAL:
            self._checked_at = now
            file_stats = self._stat_files()
            if file_stats != self._file_stats or self.last_error is not None:
                try:
                    self._current, self.last_error = policy.load_policies(self._folder), None
                except ProjectError as exc:
                    self.last_error = exc
                self._file_stats = file_stats
        return self._current

    def _stat_files(self) -> list[tuple[str, int, int, int]]:
        paths = sorted(self._folder.glob("*.cedar")) if self._folder is not None else []
        return [_stat_version(path) for path in paths]


def _stat_version(path: Path) -> tuple[str, int, int, int]:
    """Identify the version of a file by name, modification time, change time (mode and owner) and size."""
    try:
        file_stat = path.stat()
    except OSError:
        # The file was removed or became unreachable after the listing; reading it reports the error.
        return path.name, -1, -1, -1
    return path.name, file_stat.st_mtime_ns, file_stat.st_ctime_ns, file_stat.st_size

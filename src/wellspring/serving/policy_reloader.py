"""Load the policies in force again when another release of them is live."""

from __future__ import annotations

from datetime import timedelta

from wellspring.errors import CorruptedError, NotFound, ProjectError, Unavailable
from wellspring.records.clock import Clock
from wellspring.trust.changes.released_policies import ReleasedPolicies
from wellspring.trust.policy import PolicySet

CHECK_INTERVAL = timedelta(seconds=1)
"""Minimum time between two looks at the live release."""


class PolicyReloader:
    """Look for another set of policies at most once a second.

    If it cannot be read, the last valid set stays active, the error is in `last_error`, and the next look tries again.
    """

    def __init__(self, released: ReleasedPolicies, clock: Clock) -> None:
        self.released = released
        self._clock = clock
        self._version = released.read_version()
        self._checked_at = clock.now()
        self._current = released.load()
        self.last_error: ProjectError | CorruptedError | NotFound | Unavailable | None = None

    def current(self) -> PolicySet:
        """Return the active policy set; load it first if another one is in force."""
        now = self._clock.now()
        if abs(now - self._checked_at) >= CHECK_INTERVAL:
            self._checked_at = now
            version = self.released.read_version()
            if version != self._version or self.last_error is not None:
                try:
                    self._current, self.last_error = self.released.load(), None
                except (ProjectError, CorruptedError, NotFound, Unavailable) as exc:
                    self.last_error = exc
                self._version = version
        return self._current

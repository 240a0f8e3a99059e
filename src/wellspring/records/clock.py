"""Define the clock as a protocol, so that a test can advance time by thirty days in seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Return the current time."""

    def now(self) -> datetime:
        """Return the current instant, UTC, in microseconds; it never decreases within one process."""
        ...


class SystemClock:
    """Read the clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

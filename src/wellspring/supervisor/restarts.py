"""Decide when a server that exited starts again: after a delay that doubles, and only a limited number of times."""

from __future__ import annotations

from typing import NamedTuple


class RestartPolicy(NamedTuple):
    """How often and how fast one server is restarted; all times in seconds.

    limit: restarts within the window. quiet_period: a server that was ready for so long starts with the first delay.
    """

    first_delay: float = 0.5
    longest_delay: float = 30.0
    limit: int = 5
    window: float = 600.0
    quiet_period: float = 120.0


class RestartSchedule:
    """The restarts of one server. Each instant is one of a monotonic clock, in seconds."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._planned_at: list[float] = []
        self._attempts_since_quiet = 0
        self._ready_at: float | None = None

    def plan_restart(self, now: float) -> float | None:
        """Return the instant of the next start; None if the limit is reached and the server stays down."""
        policy = self._policy
        self._planned_at = [instant for instant in self._planned_at if now - instant < policy.window]
        if len(self._planned_at) >= policy.limit:
            return None
        if self._ready_at is not None and now - self._ready_at >= policy.quiet_period:
            self._attempts_since_quiet = 0
        delay = min(policy.longest_delay, policy.first_delay * 2.0**self._attempts_since_quiet)
        self._attempts_since_quiet += 1
        self._planned_at.append(now)
        self._ready_at = None
        return now + delay

    def record_ready(self, now: float) -> None:
        """Record that the server is ready."""
        self._ready_at = now

    def reset(self) -> None:
        """Forget the earlier restarts, because a person has restarted the server."""
        self._planned_at.clear()
        self._attempts_since_quiet = 0
        self._ready_at = None

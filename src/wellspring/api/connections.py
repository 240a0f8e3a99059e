"""Limit the number of open connections per user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from wellspring.api.middleware import MAX_CONCURRENCY
from wellspring.trust.identity.port import Principal

PrincipalLookup = Callable[[int], Principal | None]

UNKNOWN_PEER_LIMIT = 16
"""Connections that one unknown user may open; /healthz is available to unknown users."""


class ConnectionLimiter:
    """Count the open connections of each user.

    The limits of one known caller, of one unknown user and of all unknown users together are below the server's limit,
    so that no user can block another one.
    """

    def __init__(self, principal_for_uid: PrincipalLookup) -> None:
        self._principal_for_uid = principal_for_uid
        self._open_connections: Counter[int] = Counter()
        self._unknown_connections = 0

    def acquire(self, uid: int) -> bool:
        """Count one more connection of a user; return False if the user has reached the limit."""
        is_unknown = self._principal_for_uid(uid) is None
        if self._open_connections[uid] >= (UNKNOWN_PEER_LIMIT if is_unknown else 2 * MAX_CONCURRENCY) or (
            is_unknown and self._unknown_connections >= MAX_CONCURRENCY
        ):
            return False
        self._open_connections[uid] += 1
        self._unknown_connections += is_unknown
        return True

    def release(self, uid: int) -> None:
        """Count one connection less."""
        self._open_connections[uid] -= 1
        self._unknown_connections -= self._principal_for_uid(uid) is None
        if not self._open_connections[uid]:
            del self._open_connections[uid]

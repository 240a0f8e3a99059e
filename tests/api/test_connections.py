"""Unknown users have connection limits of their own, so that no user can block another one."""

from __future__ import annotations

import pytest

from wellspring.api import connections
from wellspring.api.connections import ConnectionLimiter
from wellspring.trust.identity.port import Principal

PORTAL = Principal("service:portal")


def test_unknown_users_share_limit_below_server_and_take_no_caller_slot(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "MAX_CONCURRENCY", 20)
    limiter = ConnectionLimiter({1: PORTAL}.get)
    assert sum(limiter.acquire(7) for _ in range(30)) == connections.UNKNOWN_PEER_LIMIT
    assert sum(limiter.acquire(uid) for uid in range(100, 130)) == 20 - connections.UNKNOWN_PEER_LIMIT
    assert not limiter.acquire(200)
    assert sum(limiter.acquire(1) for _ in range(50)) == 40
    limiter.release(7)
    assert [limiter.acquire(1), limiter.acquire(200), limiter.acquire(201)] == [
        False,
        True,
        False,
    ]
    limiter.release(1)
    assert limiter.acquire(1)

"""Leases for tests: a fence whose lease a test ends, and locks as another process would open them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.builders.plugins import find_suite_builders
from wellspring.errors import Unavailable
from wellspring.stores.locks.port import ResourceLocks

if TYPE_CHECKING:
    from tests.builders.postgres import Database

OpenLocks = Callable[[str], ResourceLocks]
"""Opens locks as another process would: each call is a holder of its own, which waits for others 0.1 s.

The argument names the project: resources of two names are different ones.
"""


class ScriptedFence:
    """A write fence that records the resources of its writes. lost: no longer held; their writes are refused."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.lost: set[str] = set()

    @contextmanager
    def fence_writes(self, resource: str) -> Generator[None]:
        if resource in self.lost:
            raise Unavailable(f"the lease on {resource} has ended", fix="run it again")
        yield
        self.writes.append(resource)


def lease_conninfo(server: Database) -> str:
    """Return where a test's PostgreSQL keeps its leases."""
    return f"host={server.host} user=postgres dbname=postgres"


def find_lock_builders() -> Mapping[str, Callable[[Path], AbstractContextManager[OpenLocks]]]:
    """Find what the suite of locks needs for each kind, by name; a builder gets an empty folder."""
    return find_suite_builders("locks")

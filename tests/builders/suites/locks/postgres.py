"""Leases in a table of a real PostgreSQL, for the suite of locks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.leases import OpenLocks, lease_conninfo
from tests.builders.postgres import database
from wellspring.stores.locks.postgres import PostgresLocks


@contextmanager
def open_database(_folder: Path) -> Iterator[OpenLocks]:
    with database() as server:
        conninfo = lease_conninfo(server)
        yield lambda project: PostgresLocks(conninfo, lease_seconds=30, wait_seconds=0.1, namespace=f"{project}/")


BUILDER = open_database

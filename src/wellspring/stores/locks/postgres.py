"""Locks by rows of PostgreSQL: a lease lasts for a time by the clock of the server, and is renewed until then."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wellspring.errors import Refused, Unavailable
from wellspring.stores.locks.port import Lease

if TYPE_CHECKING:
    import psycopg

_SCHEMA = """
create table if not exists wellspring_leases (
  resource text primary key, holder text not null, until timestamptz not null, number bigint not null
)
"""
_ACQUIRE = """
insert into wellspring_leases as lease (resource, holder, until, number)
values (%(resource)s, %(holder)s, clock_timestamp() + %(seconds)s * interval '1 second', 1)
on conflict (resource) do update
set holder = excluded.holder, until = excluded.until, number = lease.number + 1
where lease.until <= clock_timestamp()
returning number
"""
_RENEW = """
update wellspring_leases set until = clock_timestamp() + %(seconds)s * interval '1 second'
where resource = %(resource)s and number = %(number)s and until > clock_timestamp()
"""
_FENCE = """
select 1 from wellspring_leases
where resource = %(resource)s and number = %(number)s and until > clock_timestamp() for update
"""
_RELEASE = """
update wellspring_leases set until = clock_timestamp() where resource = %(resource)s and number = %(number)s
"""


class PostgresLocks:
    """Leases in one table. Not safe for threads: each has its own object, and so its own connection.

    conninfo: of libpq. lease_seconds: how long a lease lasts without `renew`; also how long one write may take.
    """

    def __init__(self, conninfo: str, *, lease_seconds: float) -> None:
        import psycopg

        self._lease_seconds = lease_seconds
        milliseconds = max(1, int(lease_seconds * 1000))
        try:
            self._connection = psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
            self._connection.execute(b"set lock_timeout = %d" % milliseconds)
            # The server ends the transaction of a holder that stops in the middle of a write, and with it the write.
            self._connection.execute(b"set idle_in_transaction_session_timeout = %d" % milliseconds)
            self._connection.execute(_SCHEMA)
        except psycopg.Error as exc:
            raise _unavailable(exc) from None

    def acquire(self, resource: str, holder: str) -> Lease:
        row = self._execute(_ACQUIRE, resource=resource, holder=holder).fetchone()
        if row is None:
            raise Unavailable(f"another process holds {resource}", fix="wait until its lease has ended, then try again")
        return Lease(resource, holder, int(row[0]))

    def renew(self, lease: Lease) -> None:
        if self._execute(_RENEW, resource=lease.resource, number=lease.number).rowcount != 1:
            raise _ended(lease)

    @contextmanager
    def fence_writes(self, lease: Lease) -> Generator[None]:
        """Hold the row of the lease in a transaction; a write with `connection` inside it is undone with it."""
        import psycopg

        try:
            with self._connection.transaction():
                if self._execute(_FENCE, resource=lease.resource, number=lease.number).fetchone() is None:
                    raise _ended(lease)
                yield
        except psycopg.Error as exc:
            raise _unavailable(exc) from None

    @property
    def connection(self) -> psycopg.Connection:
        """The connection, for writes in the transaction of `fence_writes`."""
        return self._connection

    def release(self, lease: Lease) -> None:
        self._execute(_RELEASE, resource=lease.resource, number=lease.number)

    def close(self) -> None:
        self._connection.close()

    def _execute(self, sql: str, **values: str | int) -> psycopg.Cursor:
        import psycopg

        try:
            return self._connection.execute(sql.encode(), {**values, "seconds": self._lease_seconds})
        except psycopg.Error as exc:
            raise _unavailable(exc) from None


def _ended(lease: Lease) -> Refused:
    return Refused(
        f"lease {lease.number} of {lease.holder} on {lease.resource} has ended", fix="acquire the resource again"
    )


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"the leases in PostgreSQL cannot be read or written ({type(error).__name__})", fix="start PostgreSQL, or retry"
    )

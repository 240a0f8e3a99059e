"""Locks by rows of PostgreSQL: a lease lasts for a time by the clock of the server, and is renewed until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from wellspring.errors import Refused, Unavailable
from wellspring.settings import SettingsSection
from wellspring.stores.locks.port import Lease, LocksAdapter

if TYPE_CHECKING:
    import psycopg

    from wellspring.project import Project

_SCHEMA = """
select pg_advisory_xact_lock(hashtext('wellspring_leases'));
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
_RELEASE = """
update wellspring_leases set until = clock_timestamp() where resource = %(resource)s and number = %(number)s
"""
_POLL_SECONDS = 0.2


class PostgresLocks:
    """Leases in one table. Not safe for threads: each has its own object, and so its own connection.

    conninfo: of libpq. lease_seconds: how long a lease lasts without `renew`; also how long one write may take.
    wait_seconds: how long `acquire` waits for another holder, whose process may have been killed; None: two seconds
    longer than a lease. namespace: of the resources; two projects with one database have different ones.
    """

    def __init__(
        self, conninfo: str, *, lease_seconds: float, wait_seconds: float | None = None, namespace: str = ""
    ) -> None:
        self.lease_seconds = lease_seconds
        self._wait_seconds = lease_seconds + 2 if wait_seconds is None else wait_seconds
        self._namespace = namespace
        self._conninfo = conninfo
        self._connection = self._connect()

    def acquire(self, resource: str, holder: str) -> Lease:
        deadline, pause = time.monotonic() + self._wait_seconds, threading.Event()
        while (row := self._execute(_ACQUIRE, resource=resource, holder=holder).fetchone()) is None:
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"another process holds {resource}", fix="wait until its lease has ended, then try again"
                )
            pause.wait(_POLL_SECONDS)
        return Lease(resource, holder, int(row[0]))

    def renew(self, lease: Lease) -> None:
        if self._execute(_RENEW, resource=lease.resource, number=lease.number).rowcount != 1:
            raise _ended(lease)

    @contextmanager
    def fence_writes(self, lease: Lease) -> Generator[None]:
        """Hold the row of the lease in a transaction; a write with `connection` inside it is undone with it."""
        import psycopg

        self._reconnect_if_closed()
        try:
            with self._connection.transaction():
                # The update locks the row, so that nobody else can acquire the resource until the transaction ends.
                self.renew(lease)
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

    def _execute(self, sql: str, *, resource: str, **values: str | int) -> psycopg.Cursor:
        import psycopg

        self._reconnect_if_closed()
        row = {**values, "resource": self._namespace + resource, "seconds": self.lease_seconds}
        try:
            return self._connection.execute(sql.encode(), row)
        except psycopg.Error as exc:
            raise _unavailable(exc) from None

    def _reconnect_if_closed(self) -> None:
        """Connect again after the server closed the connection; the leases are rows, so they do not end with it."""
        if self._connection.closed:
            self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        import psycopg

        milliseconds = max(1, int(self.lease_seconds * 1000))
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=10)
            connection.execute(b"set lock_timeout = %d" % milliseconds)
            # The server ends the transaction of a holder that stops in the middle of a write, and with it the write.
            connection.execute(b"set idle_in_transaction_session_timeout = %d" % milliseconds)
            connection.execute(_SCHEMA)
        except psycopg.Error as exc:
            raise _unavailable(exc) from None
        return connection


def _ended(lease: Lease) -> Refused:
    return Refused(
        f"lease {lease.number} of {lease.holder} on {lease.resource} has ended", fix="acquire the resource again"
    )


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"the leases in PostgreSQL cannot be read or written ({type(error).__name__})", fix="start PostgreSQL, or retry"
    )


class PostgresLockSettings(SettingsSection):
    """[locks.options] of the kind `postgres`. address: `host:port`, or the folder of a Unix socket of this machine.

    The server authenticates the worker by its user of the operating system (socket) or by a certificate (`host:port`),
    never by a password. certificate, key: of the worker; ca_bundle: the authority of the server's certificate; PEM
    files, relative to the project. lease_seconds: how long a lease lasts without renewal, and one write may take.
    """

    address: str = Field(pattern=r"^(/.*|[^/:\s]+:[0-9]{1,5})$")
    database: str = Field(min_length=1)
    user: str = Field(min_length=1)
    lease_seconds: float = Field(default=30.0, ge=1, le=3600)
    certificate: Path | None = None
    key: Path | None = None
    ca_bundle: Path | None = None

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        files = {"certificate": self.certificate, "key": self.key, "ca_bundle": self.ca_bundle}
        if self.address.startswith("/") and (unused := [name for name, file in files.items() if file is not None]):
            raise ValueError(f"a Unix socket needs no {unused[0]}: remove it")
        if not self.address.startswith("/") and (missing := [name for name, file in files.items() if file is None]):
            raise ValueError(f"{self.address} is reached by TLS: set {', '.join(missing)}")
        return self


def open_postgres_locks(settings: PostgresLockSettings, project: Project) -> PostgresLocks:
    """Connect to the leases of a project. Raises Unavailable."""
    return PostgresLocks(
        _build_conninfo(settings, project.root),
        lease_seconds=settings.lease_seconds,
        namespace=f"{project.tenant}/{project.name}/",
    )


def list_login_files(settings: PostgresLockSettings, root: Path) -> tuple[Path, ...]:
    """List the certificate, the key and the authority, if the server is reached by TLS."""
    return tuple(root / file for file in (settings.certificate, settings.key, settings.ca_bundle) if file is not None)


def _build_conninfo(settings: PostgresLockSettings, root: Path) -> str:
    from psycopg.conninfo import make_conninfo

    login = {"dbname": settings.database, "user": settings.user, "application_name": "wellspring-leases"}
    if settings.address.startswith("/"):
        return make_conninfo(**login, host=settings.address)
    host, _, port = settings.address.rpartition(":")
    certificate, key, ca_bundle = list_login_files(settings, root)
    return make_conninfo(
        **login,
        host=host,
        port=port,
        sslmode="verify-full",
        sslcert=str(certificate),
        sslkey=str(key),
        sslrootcert=str(ca_bundle),
        # A network that loses every packet must not let a process wait longer than its leases last.
        tcp_user_timeout=int(settings.lease_seconds * 1000),
    )


POSTGRES = LocksAdapter(PostgresLockSettings, open_postgres_locks, list_login_files, packages=("psycopg",))

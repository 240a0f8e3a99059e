"""Connect to PostgreSQL over a Unix socket, the server of which is checked before libpq sends anything."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wellspring.runtime.unix_socket import ServerSocket, check_server

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGconn

_CONNECT_SECONDS = 5.0


def connect_postgres(server: ServerSocket, options: Mapping[str, str]) -> psycopg.Connection[dict[str, Any]]:
    """Connect to a server, whose path is the folder of its socket, and log in with SCRAM only. options: of libpq.

    libpq's own `requirepeer` needs an entry in the machine's passwd file, which the users of services do not have. So
    libpq connects, and this function checks who listens before it lets libpq go on. SCRAM proves the password without
    sending it, and libpq refuses a server that asks for it in clear.
    Raises psycopg.OperationalError, and Unavailable if another user serves the socket.
    """
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import make_conninfo
    from psycopg.rows import dict_row

    conninfo = make_conninfo("", host=os.fspath(server.path), require_auth="scram-sha-256", **options)
    # It returns when the socket is connected, or the connect has failed, and has sent nothing.
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    try:
        if pgconn.status != pq.ConnStatus.BAD:
            with socket.socket(fileno=os.dup(pgconn.socket)) as peer:
                check_server(peer, server)
            _complete_connect(pgconn)
        if pgconn.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(pgconn.get_error_message())
    except BaseException:
        pgconn.finish()
        raise
    pgconn.nonblocking = 1
    connection = psycopg.Connection[dict[str, Any]](pgconn, dict_row)
    connection.autocommit = True
    return connection


def _complete_connect(pgconn: PGconn) -> None:
    """Log in. On failure the status of the connection stays another than OK."""
    from psycopg import pq

    deadline = time.monotonic() + _CONNECT_SECONDS
    readable, writable = pq.PollingStatus.READING, pq.PollingStatus.WRITING
    while (status := pgconn.connect_poll()) in (readable, writable):
        remaining = deadline - time.monotonic()
        descriptors = [pgconn.socket]
        ready = select.select(
            descriptors if status == readable else [], descriptors if status == writable else [], [], max(remaining, 0)
        )
        if not any(ready):
            return

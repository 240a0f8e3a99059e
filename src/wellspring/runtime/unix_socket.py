"""Unix sockets: HTTP connections over them, the uid of a peer, and listening without a moment of refused connects."""

from __future__ import annotations

import http.client
import os
import select
import socket
import struct
from pathlib import Path

_UCRED_FORMAT = "3i"


def connect_unix_socket(path: Path, timeout: float | None) -> socket.socket:
    """Connect to a Unix socket. timeout: seconds for the connect and each later operation. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
    except OSError:
        connection.close()
        raise
    return connection


class UnixHTTPConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket. host: the value of the Host header."""

    def __init__(self, path: Path, *, host: str = "localhost", timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = connect_unix_socket(self._path, self.timeout)


def has_unread_data(descriptor: int) -> bool:
    """Return True if a socket can be read at once: it has data, or its peer has closed it."""
    return bool(select.select([descriptor], [], [], 0.0)[0])


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the peer process at the time of its connect, as reported by the kernel."""
    size = struct.calcsize(_UCRED_FORMAT)
    _, uid, _ = struct.unpack(_UCRED_FORMAT, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def bind_public_socket(path: Path, *, backlog: int) -> socket.socket:
    """Listen on a Unix socket to which every user may connect: the server checks the uid, and can record a refusal.

    The socket is bound under a temporary name, so that its path accepts connections as soon as it exists.
    """
    temporary_path = path.with_name(f".{path.name}")
    temporary_path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(temporary_path))
    os.chmod(temporary_path, 0o666)  # noqa: S103
    listener.listen(backlog)
    os.rename(temporary_path, path)
    return listener

"""Unix sockets: connections to a server of a checked user, HTTP over them, and listening without refused connects."""

from __future__ import annotations

import http.client
import os
import select
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Unavailable

_UCRED_FORMAT = "3i"


class ServerSocket(NamedTuple):
    """The socket of a server, and who must serve it. uid: of the server's user.

    pid: of the process that must serve it, itself or a descendant; 0 for any process of the user.
    """

    path: Path
    uid: int
    pid: int = 0


def connect_unix_socket(server: ServerSocket, timeout: float | None) -> socket.socket:
    """Connect to a server, and check who it is before anything is sent. timeout: seconds for each operation.

    Raises OSError, and Unavailable if another user or process serves the socket.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(os.fspath(server.path))
        check_server(connection, server)
    except (OSError, Unavailable):
        connection.close()
        raise
    return connection


def check_server(connection: socket.socket, server: ServerSocket) -> None:
    """Check that the server's user, and its process, listens at the other end of a connection. Raises Unavailable.

    The kernel reports the credentials that the peer had when it began to listen.
    """
    peer = peer_credentials(connection)
    if peer.uid != server.uid:
        mismatch = f"uid {peer.uid} (pid {peer.pid}) serves {server.path}, and not uid {server.uid}"
    elif server.pid and not is_same_or_descendant(peer.pid, server.pid):
        mismatch = f"pid {peer.pid} serves {server.path}, and not pid {server.pid}"
    else:
        return
    raise Unavailable(
        f"{mismatch}: nothing was sent to it",
        fix="find out who started that process and end it, then run `wellspring up`",
    )


def is_same_or_descendant(pid: int, ancestor: int) -> bool:
    """Return whether a process is another one, or was started by it or by one of its descendants."""
    while pid > 1 and pid != ancestor:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        pid = int(text.rpartition(")")[2].split()[1])
    return pid == ancestor


class UnixHTTPConnection(http.client.HTTPConnection):
    """An HTTP connection to a server behind a Unix socket. host: the value of the Host header."""

    def __init__(self, server: ServerSocket, *, host: str = "localhost", timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._server = server

    def connect(self) -> None:
        self.sock = connect_unix_socket(self._server, self.timeout)


def has_unread_data(descriptor: int) -> bool:
    """Return True if a socket can be read at once: it has data, or its peer has closed it."""
    return bool(select.select([descriptor], [], [], 0.0)[0])


class PeerCredentials(NamedTuple):
    """The process at the other end of a Unix socket, as reported by the kernel."""

    pid: int
    uid: int


def peer_credentials(connection: socket.socket) -> PeerCredentials:
    """Return the process that connected, or that listens if this end has connected, as of that moment."""
    size = struct.calcsize(_UCRED_FORMAT)
    pid, uid, _ = struct.unpack(_UCRED_FORMAT, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return PeerCredentials(pid, uid)


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the peer process at the time of its connect, as reported by the kernel."""
    return peer_credentials(connection).uid


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

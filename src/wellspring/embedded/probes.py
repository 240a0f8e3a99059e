"""Readiness probes over Unix sockets."""

from __future__ import annotations

import http.client
from pathlib import Path

from wellspring.errors import Refused, Unavailable
from wellspring.runtime.unix_socket import UnixHTTPConnection, connect_unix_socket
from wellspring.trust.vault import protocol


def accepts_connections(path: Path) -> bool:
    """Return True if a server accepts connections on a Unix socket."""
    try:
        with connect_unix_socket(path, 2):
            return True
    except OSError:
        return False


def responds_to_http(path: Path, address: str) -> bool:
    """Return True if an HTTP server on a Unix socket responds to GET, whatever its answer; a hung one only connects."""
    connection = UnixHTTPConnection(path, timeout=5)
    try:
        connection.request("GET", address)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def responds_to_line(path: Path) -> bool:
    """Return True if a server that exchanges lines of JSON responds to a ping, whatever its answer."""
    try:
        with connect_unix_socket(path, 5) as connection:
            connection.sendall(b'{"op": "ping"}\n')
            return connection.recv(1) != b""
    except OSError:
        return False


def responds_to_ping(path: Path) -> bool:
    """Return True if the enclave's intake socket responds to a ping."""
    try:
        with connect_unix_socket(path, 5) as connection:
            protocol.send_frame(connection, {"op": "ping"})
            response = protocol.receive_frame(connection, limit=protocol.REQUEST_LIMIT)
    except (OSError, Refused, Unavailable):
        return False
    return response is not None and response.get("kind") == "done"

"""Readiness probes over Unix sockets: only the expected server counts, and only if it responds."""

from __future__ import annotations

import http.client

from wellspring.errors import Refused, Unavailable
from wellspring.runtime.unix_socket import ServerSocket, UnixHTTPConnection, connect_unix_socket
from wellspring.trust.vault import protocol


def accepts_connections(server: ServerSocket) -> bool:
    """Return True if a server accepts connections on a Unix socket."""
    try:
        with connect_unix_socket(server, 2):
            return True
    except (OSError, Unavailable):
        return False


def responds_to_http(server: ServerSocket, address: str) -> bool:
    """Return True if an HTTP server on a Unix socket responds to GET, whatever its answer; a hung one only connects."""
    connection = UnixHTTPConnection(server, timeout=5)
    try:
        connection.request("GET", address)
        connection.getresponse().read()
    except (OSError, Unavailable, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def responds_to_line(server: ServerSocket) -> bool:
    """Return True if a server that exchanges lines of JSON responds to a ping, whatever its answer."""
    try:
        with connect_unix_socket(server, 5) as connection:
            connection.sendall(b'{"op": "ping"}\n')
            return connection.recv(1) != b""
    except (OSError, Unavailable):
        return False


def responds_to_ping(server: ServerSocket) -> bool:
    """Return True if the enclave's intake socket responds to a ping."""
    try:
        with connect_unix_socket(server, 5) as connection:
            protocol.send_frame(connection, {"op": "ping"})
            response = protocol.receive_frame(connection, limit=protocol.REQUEST_LIMIT)
    except (OSError, Refused, Unavailable):
        return False
    return response is not None and response.get("kind") == "done"

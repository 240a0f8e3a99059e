"""Readiness probes over Unix sockets."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from wellspring.runtime.unix_socket import connect_unix_socket


def accepts_connections(path: Path) -> bool:
    """Return True if a server accepts connections on a Unix socket."""
    try:
        with connect_unix_socket(path, 2):
            return True
    except OSError:
        return False


def responds_to_ping(path: Path) -> bool:
    """Return True if the enclave's intake socket responds to a ping. A frame is a 4-byte length and JSON."""
    request = json.dumps({"op": "ping"}).encode()
    try:
        with connect_unix_socket(path, 5) as connection:
            connection.sendall(struct.pack(">I", len(request)) + request)
            response = connection.makefile("rb")
            (length,) = struct.unpack(">I", response.read(4))
            return bool(json.loads(response.read(length)).get("kind") == "done")
    except (OSError, struct.error, ValueError):
        return False

"""Readiness probes over Unix sockets."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path


def accepts_connections(path: Path) -> bool:
    """Return True if a server accepts connections on a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(os.fspath(path))
            return True
    except OSError:
        return False


def responds_to_ping(path: Path) -> bool:
    """Return True if the enclave's intake socket responds to a ping. A frame is a 4-byte length and JSON."""
    request = json.dumps({"op": "ping"}).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(os.fspath(path))
            connection.sendall(struct.pack(">I", len(request)) + request)
            response = connection.makefile("rb")
            (length,) = struct.unpack(">I", response.read(4))
            return bool(json.loads(response.read(length)).get("kind") == "done")
    except (OSError, struct.error, ValueError):
        return False

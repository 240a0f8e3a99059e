"""Whether a server answers, asked as its callers ask it."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path


def accepts_connections(path: Path) -> bool:
    """Say whether something accepts on a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(os.fspath(path))
            return True
    except OSError:
        return False


def answers_ping(path: Path) -> bool:
    """Ask the enclave's intake door whether it works: a frame is a 4-byte length and JSON."""
    request = json.dumps({"op": "ping"}).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(os.fspath(path))
            connection.sendall(struct.pack(">I", len(request)) + request)
            answer = connection.makefile("rb")
            (length,) = struct.unpack(">I", answer.read(4))
            return bool(json.loads(answer.read(length)).get("kind") == "done")
    except (OSError, struct.error, ValueError):
        return False

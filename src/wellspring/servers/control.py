"""The supervisor's own door, for the owner of the project only: status, stop, restart, a wrapped secret-id, enrol."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wellspring.errors import BY_SLUG, Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.trust.identity.port import Role

_LIMIT = 64 * 1024
_SECONDS = 2.0


def credential(project: Project, role: Role) -> dict[str, str]:
    """Get {role_id, wrapped} for one login of a role: the wrapping opens once, within 60 seconds.

    Raises Unavailable when the servers are not up, Refused for anybody but the project's owner.
    """
    answer = ask(project, {"op": "credential", "role": role})
    return {"role_id": str(answer["role_id"]), "wrapped": str(answer["wrapped"])}


def ask(project: Project, request: Mapping[str, str], *, seconds: float = 30.0) -> dict[str, Any]:
    """Send one request to the supervisor and return its answer. Raises Unavailable when it is not up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(os.fspath(project.socket("control")))
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            answer = json.loads(_line(connection, seconds))
        except PermissionError:
            raise Refused(
                f"the supervisor of {project.root} answers its owner only",
                fix="run as the user who ran `wellspring up`",
            ) from None
        except (OSError, ValueError):
            raise Unavailable(f"the servers of {project.root} are not up", fix="run `wellspring up`") from None
    if "error" in answer:
        raise BY_SLUG.get(answer["error"], WellspringError)(answer["what"], fix=answer["fix"])
    return answer


class Door:
    """The listening side. handle: request -> answer; what it raises as WellspringError is sent as an error.

    seconds: how long a caller may take to say its request, in all: meanwhile the supervisor does nothing else.
    """

    def __init__(
        self, path: Path, handle: Callable[[dict[str, Any]], dict[str, Any]], *, seconds: float = _SECONDS
    ) -> None:
        self._handle = handle
        self._seconds = seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(os.fspath(path))
        os.chmod(path, 0o600)
        self._socket.listen(16)

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        """Answer one caller: whoever is neither the owner nor root is refused, by the kernel's word for who it is."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(self._seconds)
            try:
                reply = self._reply(connection)
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except (OSError, ValueError):
                # A caller that hangs up or talks nonsense gets no answer, and holds nobody up.
                return

    def close(self) -> None:
        self._socket.close()

    def _reply(self, connection: socket.socket) -> dict[str, Any]:
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        request = json.loads(_line(connection, self._seconds))
        try:
            if uid not in {0, os.geteuid()}:
                raise Refused(f"uid {uid} may ask nothing here", fix="run as the user who ran `wellspring up`")
            if not isinstance(request, dict):
                raise Refused("a request is a JSON object", fix="ask status, stop, restart, credential or enrol")
            return self._handle(request)
        except WellspringError as error:
            return {"error": error.slug, "what": error.what, "fix": error.fix}


def _line(connection: socket.socket, seconds: float) -> bytes:
    """Read a line within so many seconds in all. Raises OSError, as the socket does."""
    held, until = bytearray(), time.monotonic() + seconds
    while not held.endswith(b"\n") and len(held) < _LIMIT:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(4096)
        if not more:
            break
        held += more
    # What is sent next has its own time.
    connection.settimeout(seconds)
    return bytes(held)

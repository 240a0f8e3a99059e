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

from wellspring.errors import ERRORS_BY_SLUG, Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.trust.identity.port import Role

_MAX_REQUEST_BYTES = 64 * 1024
_REQUEST_TIMEOUT = 2.0


def request_credential(project: Project, role: Role) -> dict[str, str]:
    """Get {role_id, wrapped} for one login of a role: the wrapping opens once, within 60 seconds.

    Raises Unavailable when the servers are not up, Refused for anybody but the project's owner.
    """
    answer = send_request(project, {"op": "credential", "role": role})
    return {"role_id": str(answer["role_id"]), "wrapped": str(answer["wrapped"])}


def send_request(project: Project, request: Mapping[str, str], *, timeout: float = 30.0) -> dict[str, Any]:
    """Send one request to the supervisor and return its answer. Raises Unavailable when it is not up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(os.fspath(project.socket_path("control")))
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            answer = json.loads(_read_line(connection, timeout))
        except PermissionError:
            raise Refused(
                f"the supervisor of {project.root} answers its owner only",
                fix="run as the user who ran `wellspring up`",
            ) from None
        except (OSError, ValueError):
            raise Unavailable(f"the servers of {project.root} are not up", fix="run `wellspring up`") from None
    if "error" in answer:
        raise ERRORS_BY_SLUG.get(answer["error"], WellspringError)(answer["what"], fix=answer["fix"])
    return answer


class ControlSocket:
    """The listening side. handle: request -> answer; what it raises as WellspringError is sent as an error.

    seconds: how long a caller may take to say its request, in all: meanwhile the supervisor does nothing else.
    """

    def __init__(
        self, path: Path, handler: Callable[[dict[str, Any]], dict[str, Any]], *, timeout: float = _REQUEST_TIMEOUT
    ) -> None:
        self._handler = handler
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(os.fspath(path))
        os.chmod(path, 0o600)
        self._socket.listen(16)

    def fileno(self) -> int:
        return self._socket.fileno()

    def serve_one(self) -> None:
        """Answer one caller: whoever is neither the owner nor root is refused, by the kernel's word for who it is."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(self._timeout)
            try:
                reply = self._build_reply(connection)
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except (OSError, ValueError):
                # A caller that hangs up or talks nonsense gets no answer, and holds nobody up.
                return

    def close(self) -> None:
        self._socket.close()

    def _build_reply(self, connection: socket.socket) -> dict[str, Any]:
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        request = json.loads(_read_line(connection, self._timeout))
        try:
            if uid not in {0, os.geteuid()}:
                raise Refused(f"uid {uid} may ask nothing here", fix="run as the user who ran `wellspring up`")
            if not isinstance(request, dict):
                raise Refused("a request is a JSON object", fix="ask status, stop, restart, credential or enrol")
            return self._handler(request)
        except WellspringError as error:
            return {"error": error.slug, "what": error.what, "fix": error.fix}


def _read_line(connection: socket.socket, timeout: float) -> bytes:
    """Read a line within so many seconds in all. Raises OSError, as the socket does."""
    buffer, deadline = bytearray(), time.monotonic() + timeout
    while not buffer.endswith(b"\n") and len(buffer) < _MAX_REQUEST_BYTES:
        if (remaining := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        chunk = connection.recv(4096)
        if not chunk:
            break
        buffer += chunk
    # What is sent next has its own time.
    connection.settimeout(timeout)
    return bytes(buffer)

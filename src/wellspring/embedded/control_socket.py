"""The supervisor's control socket, both sides. Only the project's owner and root may send requests to it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wellspring.errors import Refused, Unavailable, WellspringError, decode_error, encode_error
from wellspring.project import Project
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import connect_unix_socket, peer_uid

_MAX_REQUEST_BYTES = 64 * 1024
_REQUEST_TIMEOUT = 2.0
REQUEST_FIX = (
    "send one of: status, stop, start, restart, enroll, report_refusal, begin_backup, end_backup, record_key_export"
)


def send_request(project: Project, request: Mapping[str, str], *, timeout: float = 30.0) -> dict[str, Any]:
    """Send one request to the supervisor and return its response. Raises Unavailable when it is not up."""
    try:
        with connect_unix_socket(find_server_socket(project, "control"), timeout) as connection:
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            response = json.loads(_read_line(connection, timeout))
    except PermissionError:
        raise Refused(
            f"the supervisor of {project.root} accepts requests from its owner only",
            fix="run as the user who ran `wellspring up`",
        ) from None
    except (OSError, ValueError):
        raise Unavailable(f"the servers of {project.root} are not up", fix="run `wellspring up`") from None
    if "error" in response:
        raise decode_error(response["error"])
    return response


def error_message(error: WellspringError) -> dict[str, Any]:
    """Encode an error as the JSON message that `send_request` and `start_servers` turn into the same error."""
    return {"error": encode_error(error)}


class ControlSocket:
    """The listening side.

    handler: maps a request to a response; a WellspringError that it raises is sent to the client as an error.
    on_refusal: gets the uid of a client, and the refusal of its request. timeout: seconds in which a client must send
    its whole request. The supervisor serves one client at a time.
    """

    def __init__(
        self,
        path: Path,
        handler: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        on_refusal: Callable[[int, Refused], None],
        timeout: float = _REQUEST_TIMEOUT,
    ) -> None:
        self._handler = handler
        self._on_refusal = on_refusal
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(os.fspath(path))
        os.chmod(path, 0o600)
        self._socket.listen(16)

    def fileno(self) -> int:
        return self._socket.fileno()

    def serve_one(self) -> None:
        """Accept one client and respond to it. The peer's uid, read from the kernel, must be the owner's or root's."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(self._timeout)
            try:
                response = self._build_response(connection)
                connection.sendall(json.dumps(response).encode() + b"\n")
            except (OSError, ValueError):
                # A client that disconnects or sends invalid JSON gets no response.
                return

    def close(self) -> None:
        self._socket.close()

    def _build_response(self, connection: socket.socket) -> dict[str, Any]:
        uid = peer_uid(connection)
        request = json.loads(_read_line(connection, self._timeout))
        try:
            if uid not in {0, os.geteuid()}:
                raise Refused(
                    f"uid {uid} may not send requests to this supervisor", fix="run as the user who ran `wellspring up`"
                )
            if not isinstance(request, dict):
                raise Refused("the request is not a JSON object", fix=REQUEST_FIX)
            return self._handler(request)
        except WellspringError as error:
            if isinstance(error, Refused):
                self._on_refusal(uid, error)
            return error_message(error)


def _read_line(connection: socket.socket, timeout: float) -> bytes:
    """Read a line; timeout: seconds for the whole line. Raises OSError."""
    buffer, deadline = bytearray(), time.monotonic() + timeout
    while not buffer.endswith(b"\n") and len(buffer) < _MAX_REQUEST_BYTES:
        if (remaining := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        chunk = connection.recv(4096)
        if not chunk:
            break
        buffer += chunk
    # The next operation on the connection gets the full timeout.
    connection.settimeout(timeout)
    return bytes(buffer)

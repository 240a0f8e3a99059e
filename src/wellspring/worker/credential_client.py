"""Ask the supervisor for the credential of a job, over the socket that the worker inherited from it.

The control socket is not for the worker's user, because code of the project runs as that user. This socket has no name:
only the worker's own process has the descriptor, which is closed in every program that it starts.
"""

from __future__ import annotations

import json
import socket
import threading

from wellspring.errors import Unavailable, decode_error
from wellspring.runtime.process import Credential

_REQUEST_TIMEOUT = 30.0


class CredentialClient:
    """The worker's end of the socket. Safe for threads: one request at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.set_inheritable(False)
        self._channel.settimeout(_REQUEST_TIMEOUT)
        self._lock = threading.Lock()

    def request_credential(self) -> Credential:
        """Return a credential for one login. Raises Unavailable when the supervisor or OpenBao does not respond."""
        with self._lock:
            try:
                self._channel.send(b'{"op": "credential"}')
                response = json.loads(self._channel.recv(65536) or b"{}")
            except (OSError, ValueError):
                response = {}
        if "error" in response:
            raise decode_error(response["error"])
        if "wrapped" not in response:
            raise Unavailable("the supervisor gave no credential", fix="run `wellspring up`")
        return Credential(str(response["role_id"]), str(response["wrapped"]))

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

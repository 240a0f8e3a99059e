"""The supervisor's end of the socket on which it issues credentials of the worker's role, one for each job."""

from __future__ import annotations

import json
import selectors
import socket
import struct
from collections.abc import Callable

from wellspring.embedded.control_socket import error_message
from wellspring.errors import Refused, WellspringError
from wellspring.runtime.unix_socket import PeerCredentials

# Of Linux; the standard library names it on some platforms only. The kernel fills it in, and checks what a sender says.
_SCM_CREDENTIALS = 2
_UCRED_FORMAT = "3i"


class CredentialChannel:
    """One pair of sockets for each start of the worker: neither has a name, so that no other process can connect.

    issue_credential: returns {role_id, wrapped}. find_owner: returns the process, and its user, that may have one;
    a child of the worker that inherited the socket is another process.
    """

    def __init__(
        self, issue_credential: Callable[[], dict[str, str]], find_owner: Callable[[], PeerCredentials]
    ) -> None:
        self._issue_credential = issue_credential
        self._find_owner = find_owner
        self._own: socket.socket | None = None
        self._remote: socket.socket | None = None

    def open_pair(self) -> int:
        """Create a new pair; return the descriptor that the worker inherits. The former pair is closed."""
        self.close()
        self._own, self._remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own.setblocking(False)
        self._own.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._remote.set_inheritable(True)
        return self._remote.fileno()

    def close_remote(self) -> None:
        """Close the worker's end in this process, after the worker has inherited it."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None

    def fileno(self) -> int:
        """Return the descriptor to wait for; -1 without a pair."""
        return -1 if self._own is None else self._own.fileno()

    def watch_in(self, selector: selectors.BaseSelector, watched: int) -> int:
        """Watch the present pair, which each start of the worker replaces. watched: the descriptor of the former call,
        -1 at first; returns the present one."""
        if watched != -1:
            selector.unregister(watched)
        if self.fileno() != -1:
            selector.register(self.fileno(), selectors.EVENT_READ)
        return self.fileno()

    def serve_one(self) -> None:
        """Answer one request. The end of the worker closes the pair."""
        if self._own is None:
            return
        try:
            request, ancillary, _, _ = self._own.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize(_UCRED_FORMAT)))
            if not request:
                self.close()
                return
            self._own.send(json.dumps(self._build_response(request, _read_sender(ancillary))).encode())
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Close both ends."""
        self.close_remote()
        if self._own is not None:
            self._own.close()
            self._own = None

    def _build_response(self, request: bytes, sender: PeerCredentials | None) -> dict[str, object]:
        try:
            if sender != self._find_owner():
                raise Refused(
                    "this process is not the worker that the supervisor started", fix="run jobs with `wellspring`"
                )
            if request != b'{"op": "credential"}':
                raise Refused("the supervisor issues credentials only", fix='send {"op": "credential"}')
            return {**self._issue_credential()}
        except WellspringError as error:
            return error_message(error)


def _read_sender(ancillary: list[tuple[int, int, bytes]]) -> PeerCredentials | None:
    """Return the process that sent a message, as the kernel reports it."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SCM_CREDENTIALS):
            pid, uid, _ = struct.unpack(_UCRED_FORMAT, content)
            return PeerCredentials(pid, uid)
    return None

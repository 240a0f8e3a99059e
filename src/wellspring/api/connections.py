"""Limit connections: their number per user, the time until a request's headers are complete, and the header size.

uvicorn alone waits for the first request without a time limit, and accepts headers of any size.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from wellspring.api.middleware import (
    BODY_TIMEOUT,
    MAX_BODY_BYTES,
    MAX_CONCURRENCY,
    UID_SCOPE_KEY,
    ProblemDetails,
    malformed_request,
    problem_from_error,
    problem_response,
)
from wellspring.errors import Unavailable
from wellspring.runtime.unix_socket import peer_uid
from wellspring.trust.identity.port import Principal

PrincipalLookup = Callable[[int], Principal | None]

UNKNOWN_PEER_LIMIT = 16
"""Connections that one unknown user may open; /healthz is available to unknown users."""


class ConnectionLimiter:
    """Count the open connections of each user.

    The limits of one known caller, of one unknown user and of all unknown users together are below the server's limit,
    so that no user can block another one.
    """

    def __init__(self, principal_for_uid: PrincipalLookup) -> None:
        self._principal_for_uid = principal_for_uid
        self._open_connections: Counter[int] = Counter()
        self._unknown_connections = 0

    def acquire(self, uid: int) -> bool:
        """Count one more connection of a user; return False if the user has reached the limit."""
        is_unknown = self._principal_for_uid(uid) is None
        if self._open_connections[uid] >= (UNKNOWN_PEER_LIMIT if is_unknown else 2 * MAX_CONCURRENCY) or (
            is_unknown and self._unknown_connections >= MAX_CONCURRENCY
        ):
            return False
        self._open_connections[uid] += 1
        self._unknown_connections += is_unknown
        return True

    def release(self, uid: int) -> None:
        """Count one connection less."""
        self._open_connections[uid] -= 1
        self._unknown_connections -= self._principal_for_uid(uid) is None
        if not self._open_connections[uid]:
            del self._open_connections[uid]


def make_protocol_class(principal_for_uid: PrincipalLookup, *, idle_timeout: float = BODY_TIMEOUT) -> type:
    """Make a uvicorn protocol class that limits connections and adds the peer's uid to each request's scope.

    idle_timeout: seconds for the headers of a request, from the connection or the first byte on. It does not interrupt
    a request in progress; between two requests uvicorn's own timeout applies.
    """
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

    limiter = ConnectionLimiter(principal_for_uid)

    class PeerProtocol(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # Never log a request path, whatever log handlers exist: it is text of the caller.
            self.access_log = False
            self._peer_uid = -1
            self._acquired = False
            self._deadline: asyncio.TimerHandle | None = None
            self._head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._peer_uid = peer_uid(transport.get_extra_info("socket"))
            self._acquired = limiter.acquire(self._peer_uid)
            if self._acquired:
                self._start_deadline()
            else:
                self._send_and_close(
                    problem_from_error(Unavailable("this user has too many open connections", fix="close some of them"))
                )

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel_deadline()
            if self._acquired:
                limiter.release(self._peer_uid)

        def data_received(self, data: bytes) -> None:
            # In pieces of limited size: a request that is complete within one piece resets the count.
            for start in range(0, len(data), MAX_BODY_BYTES):
                piece = data[start : start + MAX_BODY_BYTES]
                self._head_bytes += len(piece)
                super().data_received(piece)
                if self.transport.is_closing():
                    return
                if self._head_bytes > MAX_BODY_BYTES:
                    self._send_and_close(malformed_request(f"path and headers exceed {MAX_BODY_BYTES} bytes", 431))
                    return
            if self._is_idle():
                self._start_deadline()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            # uvicorn's type of the scope does not have this key.
            cast("dict[str, Any]", self.scope)[UID_SCOPE_KEY] = self._peer_uid

        def on_headers_complete(self) -> None:
            self._cancel_deadline()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._head_bytes -= len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._head_bytes = 0

        def _is_idle(self) -> bool:
            return not self.cycle or self.cycle.response_complete

        def _start_deadline(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(idle_timeout, self.timeout_keep_alive_handler)

        def _cancel_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _send_and_close(self, problem: ProblemDetails) -> None:
            if self._is_idle():
                status, headers, body = problem_response(problem)
                lines = [b"%s: %s\r\n" % header for header in (*headers, (b"connection", b"close"))]
                self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
            self.transport.close()

    return PeerProtocol

"""Before the door: who may keep a connection open, for how long without asking, and how much of a request is heard.

uvicorn itself waits for ever for a first request, and takes headers without end, from anybody who can connect.
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
    peer_uid,
    problem_from_error,
    problem_response,
)
from wellspring.errors import Unavailable
from wellspring.trust.identity.port import Principal

PrincipalLookup = Callable[[int], Principal | None]

UNKNOWN_PEER_LIMIT = 16
"""Connections of one user whom nobody named: enough to ask for /healthz."""


class ConnectionLimiter:
    """Counts the open connections of each user. Strangers together have fewer than the server has, and one known
    caller has, so nobody keeps another out."""

    def __init__(self, principal_for_uid: PrincipalLookup) -> None:
        self._principal_for_uid = principal_for_uid
        self._open_connections: Counter[int] = Counter()
        self._unknown_connections = 0

    def acquire(self, uid: int) -> bool:
        """Count one more, unless it is one too many."""
        is_unknown = self._principal_for_uid(uid) is None
        if self._open_connections[uid] >= (UNKNOWN_PEER_LIMIT if is_unknown else 2 * MAX_CONCURRENCY) or (
            is_unknown and self._unknown_connections >= MAX_CONCURRENCY
        ):
            return False
        self._open_connections[uid] += 1
        self._unknown_connections += is_unknown
        return True

    def release(self, uid: int) -> None:
        """Count one less."""
        self._open_connections[uid] -= 1
        self._unknown_connections -= self._principal_for_uid(uid) is None
        if not self._open_connections[uid]:
            del self._open_connections[uid]


def make_protocol_class(principal_for_uid: PrincipalLookup, *, idle_timeout: float = BODY_TIMEOUT) -> type:
    """Make uvicorn's protocol tell each request which user the kernel saw on the other side.

    patience: seconds for the head of a request, from the connection or its first byte on. No request in progress is
    cut short by it, and between two of them uvicorn's own timeout counts.
    """
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

    limiter = ConnectionLimiter(principal_for_uid)

    class PeerProtocol(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # Whatever handlers there are: an address is what a caller sent, and stands in no log.
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
                    problem_from_error(Unavailable("this user has too many connections", fix="close some of them"))
                )

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel_deadline()
            if self._acquired:
                limiter.release(self._peer_uid)

        def data_received(self, data: bytes) -> None:
            # In pieces, because what is complete within one is not counted.
            for start in range(0, len(data), MAX_BODY_BYTES):
                piece = data[start : start + MAX_BODY_BYTES]
                self._head_bytes += len(piece)
                super().data_received(piece)
                if self.transport.is_closing():
                    return
                if self._head_bytes > MAX_BODY_BYTES:
                    self._send_and_close(
                        malformed_request(f"a request has at most {MAX_BODY_BYTES} bytes beside its body", 431)
                    )
                    return
            if self._is_idle():
                self._start_deadline()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            # uvicorn's type of a scope knows no key of ours.
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

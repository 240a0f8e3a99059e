"""The HTTP protocol of the API: limits connections, header size and the time until a request's headers are complete.

uvicorn alone waits for the first request without a time limit, and accepts headers of any size. Only `server.py`
imports this module, in the function that builds the server, so it imports uvicorn at the top.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol  # noqa: TID253 - see above

from wellspring.api.connections import ConnectionLimiter
from wellspring.api.middleware import BODY_TIMEOUT, MAX_BODY_BYTES, UID_SCOPE_KEY
from wellspring.api.problems import ProblemDetails, malformed_request, problem_from_error, problem_response
from wellspring.errors import Unavailable
from wellspring.runtime.unix_socket import peer_uid

MAX_WRITE_BYTES = 256 * 2**10
"""Responses in the write buffer of one connection above which no further request of it is read or answered."""
MAX_PIPELINED = 1024
"""Requests that one connection may send before the first of them is answered."""


class PeerProtocol(HttpToolsProtocol):
    """A uvicorn protocol that limits connections and adds the peer's uid to each request's scope.

    idle_timeout: seconds for the headers of a request, from the connection or the first byte on. It does not interrupt
    a request in progress; between two requests uvicorn's own timeout applies.
    write_timeout: seconds for a client to read what is in the write buffer above its limit; then its connection ends.
    """

    def __init__(
        self,
        *args: Any,
        limiter: ConnectionLimiter,
        idle_timeout: float = BODY_TIMEOUT,
        write_timeout: float = BODY_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limiter = limiter
        self._idle_timeout = idle_timeout
        self._write_timeout = write_timeout
        self._write_deadline: asyncio.TimerHandle | None = None
        # Never log a request path, whatever log handlers exist: it is text of the caller.
        self.access_log = False
        self._peer_uid = -1
        self._acquired = False
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._parsed_head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_WRITE_BYTES)
        self._peer_uid = peer_uid(transport.get_extra_info("socket"))
        self._acquired = self._limiter.acquire(self._peer_uid)
        if self._acquired:
            self._start_deadline()
        else:
            self._send_and_close(
                problem_from_error(Unavailable("this user has too many open connections", fix="close some of them"))
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel_deadline()
        self._cancel_write_deadline()
        if self._acquired:
            self._limiter.release(self._peer_uid)

    def data_received(self, data: bytes) -> None:
        # In pieces of limited size: a request that is complete within one piece resets the count.
        for start in range(0, len(data), MAX_BODY_BYTES):
            piece = data[start : start + MAX_BODY_BYTES]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self.transport.is_closing():
                return
            if len(self.pipeline) > MAX_PIPELINED:
                self.transport.abort()
                return
            if self._head_bytes > MAX_BODY_BYTES:
                self._refuse_large_head()
                return
        if self._is_idle():
            self._start_deadline()

    def pause_writing(self) -> None:
        """Stop reading and answering until the client reads; end the connection if it does not."""
        super().pause_writing()
        self.flow.pause_reading()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Answer again, and read again when every request that arrived has its response."""
        super().resume_writing()
        self._cancel_write_deadline()
        if not self.pipeline:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.flow.write_paused or self.pipeline:
            # uvicorn reads on after each response, and would take in requests faster than their client reads.
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._parsed_head_bytes = 0
        # uvicorn's type of the scope does not have this key.
        cast("dict[str, Any]", self.scope)[UID_SCOPE_KEY] = self._peer_uid

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # A blank, a colon and a line end stand between them.
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._cancel_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        # The parser turns an error of a callback into an error of its own, for which uvicorn calls this method.
        if self._parsed_head_bytes > MAX_BODY_BYTES:
            self._refuse_large_head()
        else:
            super().send_400_response(msg)

    def _count_head(self, size: int) -> None:
        """Count the path and headers of one request, however its bytes arrive. Raises ValueError above the limit."""
        self._parsed_head_bytes += size
        if self._parsed_head_bytes > MAX_BODY_BYTES:
            raise ValueError("path and headers are too large")

    def _refuse_large_head(self) -> None:
        self._send_and_close(malformed_request(f"path and headers exceed {MAX_BODY_BYTES} bytes", 431))

    def _is_idle(self) -> bool:
        return not self.cycle or self.cycle.response_complete

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._idle_timeout, self.timeout_keep_alive_handler)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _send_and_close(self, problem: ProblemDetails) -> None:
        if self._is_idle():
            status, headers, body = problem_response(problem)
            lines = [b"%s: %s\r\n" % header for header in (*headers, (b"connection", b"close"))]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

"""Before the door: who may keep a connection open, for how long without asking, and how much of a request is heard.

uvicorn itself waits for ever for a first request, and takes headers without end, from anybody who can connect.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from wellspring.errors import Unavailable
from wellspring.trust.door import AT_ONCE, LARGEST, PATIENCE, UID, Problem, ill_formed, peer, problem, reply
from wellspring.trust.identity.port import Principal

Who = Callable[[int], Principal | None]

STRANGERS = 16
"""Connections of one user whom nobody named: enough to ask for /healthz."""


class Crowd:
    """Counts the open connections of each user. Strangers together have fewer than the server has, and one known
    caller has, so nobody keeps another out."""

    def __init__(self, who: Who) -> None:
        self._who = who
        self._open: Counter[int] = Counter()
        self._strangers = 0

    def enter(self, uid: int) -> bool:
        """Count one more, unless it is one too many."""
        strange = self._who(uid) is None
        if self._open[uid] >= (STRANGERS if strange else 2 * AT_ONCE) or (strange and self._strangers >= AT_ONCE):
            return False
        self._open[uid] += 1
        self._strangers += strange
        return True

    def leave(self, uid: int) -> None:
        """Count one less."""
        self._open[uid] -= 1
        self._strangers -= self._who(uid) is None
        if not self._open[uid]:
            del self._open[uid]


def peer_protocol(who: Who, *, patience: float = PATIENCE) -> type:
    """Make uvicorn's protocol tell each request which user the kernel saw on the other side.

    patience: seconds for the head of a request, from the connection or its first byte on. No request in progress is
    cut short by it, and between two of them uvicorn's own timeout counts.
    """
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

    crowd = Crowd(who)

    class Peer(HttpToolsProtocol):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            # Whatever handlers there are: an address is what a caller sent, and stands in no log.
            self.access_log = False
            self._uid = -1
            self._entered = False
            self._deadline: asyncio.TimerHandle | None = None
            self._beside = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._uid = peer(transport.get_extra_info("socket"))
            self._entered = crowd.enter(self._uid)
            if self._entered:
                self._wait()
            else:
                self._end(problem(Unavailable("this user has too many connections", fix="close some of them")))

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._wait_no_more()
            if self._entered:
                crowd.leave(self._uid)

        def data_received(self, data: bytes) -> None:
            # In pieces, because what is complete within one is not counted.
            for start in range(0, len(data), LARGEST):
                piece = data[start : start + LARGEST]
                self._beside += len(piece)
                super().data_received(piece)
                if self.transport.is_closing():
                    return
                if self._beside > LARGEST:
                    self._end(ill_formed(f"a request has at most {LARGEST} bytes beside its body", 431))
                    return
            if self._idle():
                self._wait()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            # uvicorn's type of a scope knows no key of ours.
            cast("dict[str, Any]", self.scope)[UID] = self._uid

        def on_headers_complete(self) -> None:
            self._wait_no_more()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._beside -= len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._beside = 0

        def _idle(self) -> bool:
            return not self.cycle or self.cycle.response_complete

        def _wait(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(patience, self.timeout_keep_alive_handler)

        def _wait_no_more(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _end(self, wrong: Problem) -> None:
            if self._idle():
                number, headers, body = reply(wrong)
                lines = [b"%s: %s\r\n" % each for each in (*headers, (b"connection", b"close"))]
                self.transport.write(b"".join([STATUS_LINE[number], *lines, b"\r\n", body]))
            self.transport.close()

    return Peer

"""Send Redis commands over one asyncio connection and match the replies to their callers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from wellspring.errors import Unavailable

START_HINT = "start it with `wellspring up`, or retry later; `wellspring doctor` shows the problem"


class RedisConnection(asyncio.Protocol):
    """One connection: replies arrive in the order of commands; commands of one loop iteration share one write."""

    def __init__(self) -> None:
        import hiredis

        self.is_open = False
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transport of uvloop does not inherit from asyncio's.
        self._transport, self.is_open = cast("asyncio.Transport", transport), True
        self._loop = asyncio.get_running_loop()

    def send_commands(self, payload: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send `count` encoded commands. If the caller stops waiting, its replies are read and dropped."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if not self.is_open:
            future.set_exception(_lost_connection_error())
            return future
        self._pending.append((count, [], future))
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(payload)
        return future

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and self.is_open:
            self._transport.write(b"".join(outgoing))

    def data_received(self, data: bytes) -> None:
        import hiredis

        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                count, replies, future = self._pending[0]
                replies.append(reply)
                if len(replies) == count:
                    self._pending.popleft()
                    if not future.done():
                        future.set_result(replies)
        except (hiredis.ProtocolError, IndexError):
            # Replies can no longer be matched to callers, so the connection is closed.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - name from asyncio
        self.is_open = False
        while self._pending:
            _, _, future = self._pending.popleft()
            if not future.done():
                future.set_exception(_lost_connection_error())

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


def encode_redis_command(*words: bytes) -> bytes:
    """Encode one command in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _lost_connection_error() -> Unavailable:
    return Unavailable("the online store closed the connection before it responded", fix=START_HINT)


def error_from_reply(exc: Exception) -> Unavailable:
    """Convert an error reply; only its first word is used, because the rest may quote the command."""
    word = str(exc).partition(" ")[0]
    code = word if word.isupper() else type(exc).__name__
    return Unavailable(f"the online store returned an error ({code})", fix=START_HINT)

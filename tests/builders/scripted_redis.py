"""A socket that speaks the Redis protocol by script, for tests of the reader without a server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.builders.feature_views import token, view, views
from tests.builders.sockets import own_server
from tests.builders.valkey import ROW_KEY
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.reader import RedisReader

HISTORY = views(view())
ANN = ("member_history", (token(1),))

Answer = Callable[[bytes], Awaitable[bytes | None]]
Ask = Callable[[RedisReader], Coroutine[Any, Any, None]]


def run_against(answer: Answer, ask: Ask) -> int:
    """Run `ask` against a socket that accepts the login and then replies with `answer`: bytes, or None to close.

    Return how often the reader connected.
    """
    serving: set[asyncio.Task[Any] | None] = set()

    async def serve(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        await reading.read(65536)
        output: bytes | None = b"+OK\r\n"
        while output is not None:
            writing.write(output)
            requests = await reading.read(65536)
            output = await answer(requests) if requests else None
        writing.close()
        await writing.wait_closed()

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="wsv-") as folder:
            server = await asyncio.start_unix_server(serve, Path(folder) / "s")
            reader = RedisReader(
                own_server(Path(folder) / "s"), HISTORY, login=StoreLogin("worker", "x", ROW_KEY), deadline=60
            )
            try:
                await ask(reader)
            finally:
                await reader.close()
                server.close()
                await asyncio.gather(*filter(None, serving), return_exceptions=True)

    asyncio.run(run())
    return len(serving)


async def refuse_requests(requests: bytes) -> bytes:
    raise AssertionError(f"unexpected request: {requests!r}")


async def reply_nulls(requests: bytes) -> bytes:
    """Reply to each HMGET of a view with nulls."""
    return requests.count(b"HMGET") * (b"*6\r\n" + 6 * b"$-1\r\n")

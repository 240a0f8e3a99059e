"""Slow, oversized and too many connections are closed; requests in progress are not interrupted."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from wellspring.api import connections, middleware, protocol
from wellspring.api.connections import ConnectionLimiter, PrincipalLookup
from wellspring.api.middleware import Message
from wellspring.api.protocol import PeerProtocol
from wellspring.trust.identity.port import Principal

PORTAL = Principal("service:portal")
ASK = b"GET / HTTP/1.1\r\nhost: api\r\n\r\n"


def expected(_: int) -> Principal:
    return PORTAL


class EchoServer:
    """A server on a real socket; its application returns the length of the body, and waits until `go_on` is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.uids: list[int] = []
        self.body = b""
        self.lines: list[asyncio.StreamWriter] = []

    async def application(self, scope: Message, receive: middleware.Receive, send: middleware.Send) -> None:
        self.uids.append(scope[middleware.UID_SCOPE_KEY])
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await self.go_on.wait()
        body = self.body or str(size).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.lines.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        for line in self.lines:
            line.close()
        await asyncio.gather(*(line.wait_closed() for line in self.lines), return_exceptions=True)


@asynccontextmanager
async def serving(
    lookup: PrincipalLookup = expected, *, patience: float = 10, keep: int = 10, write_patience: float = 10
) -> AsyncIterator[EchoServer]:
    """Serve until the block ends. patience: seconds for the headers; keep: seconds between two requests."""
    with tempfile.TemporaryDirectory(prefix="ws-") as folder:
        step = EchoServer(Path(folder) / "api.sock")
        config = Config(
            step.application, interface="asgi3", ws="none", lifespan="off", log_config=None, timeout_keep_alive=keep
        )
        config.load()
        limiter, state = ConnectionLimiter(lookup), ServerState()
        gone = asyncio.Event()

        class Observed(PeerProtocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                gone.set()

        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(
            lambda: Observed(
                config=config,
                server_state=state,
                app_state={},
                limiter=limiter,
                idle_timeout=patience,
                write_timeout=write_patience,
            ),
            str(step.path),
        )
        try:
            yield step
        finally:
            server.close()
            await step.hang_up()
            while state.connections:
                gone.clear()
                await asyncio.wait_for(gone.wait(), 60)


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one response: status and body."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Check whether the other side closes within a minute."""
    try:
        return await asyncio.wait_for(reader.read(), 60) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drop: bytes = b"x") -> bool:
    """Send small pieces without a long pause; return True when the other side closes, False if it never does."""
    end = asyncio.create_task(reader.read())
    for _ in range(6000):
        writer.write(drop)
        done, _pending = await asyncio.wait({end}, timeout=0.01)
        if done:
            return end.exception() is not None or end.result() == b""
    end.cancel()
    return False


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def awaited() -> None:
        await test()

    asyncio.run(awaited())


@pytest.mark.parametrize("started", [b"", b"\r\n", b"GET /he", b"GET / HTTP/1.1\r\nhost: a"])
def test_connection_without_complete_headers_is_closed_after_timeout(started: bytes):
    async def test() -> None:
        async with serving(patience=0.1) as step:
            reader, writer = await step.connect()
            writer.write(started)
            assert await ended(reader)

    run(test)


def test_slowly_sent_headers_are_closed_on_first_and_later_requests():
    async def test() -> None:
        async with serving(patience=0.1) as step:
            reader, writer = await step.connect()
            writer.write(b"GET /")
            assert await drip(reader, writer)
            for started in (b"GET /", b""):
                reader, writer = await step.connect()
                writer.write(ASK)
                assert await read_response(reader) == (200, b"0")
                writer.write(started)
                assert await drip(reader, writer, b"x" if started else b"\r\n")
            assert step.uids == [os.getuid()] * 2

    run(test)


def test_request_in_progress_is_not_interrupted_and_connection_stays_open():
    async def test() -> None:
        async with serving(patience=0.1) as step:
            reader, writer = await step.connect()
            for _ in range(2):
                step.go_on.clear()
                writer.write(ASK)
                waiting = asyncio.create_task(read_response(reader))
                done, _ = await asyncio.wait({waiting}, timeout=0.2)
                assert not done
                step.go_on.set()
                assert await waiting == (200, b"0")
            # Between two requests the server's own, longer timeout applies.
            quiet = asyncio.create_task(reader.read(1))
            done, _ = await asyncio.wait({quiet}, timeout=0.2)
            assert not done
            quiet.cancel()

    run(test)


def test_endless_headers_are_refused():
    async def test() -> None:
        async with serving() as step:
            for started in (
                b"GET / HTTP/1.1\r\n",
                b"GET /",
                b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            ):
                reader, writer = await step.connect()
                writer.write(started + b"x" * (2 * middleware.MAX_BODY_BYTES))
                output = await asyncio.wait_for(reader.read(), 60)
                assert output.startswith(b"HTTP/1.1 431") or (output == b"" and b"chunked" in started)
            assert len(step.uids) <= 1

    run(test)


def test_many_headers_in_one_piece_are_refused():
    async def test() -> None:
        async with serving() as step:
            reader, writer = await step.connect()
            writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * middleware.MAX_BODY_BYTES + b"\r\n")
            assert (await read_response(reader))[0] == 431
            assert step.uids == []

    run(test)


@pytest.mark.parametrize("size", [middleware.MAX_BODY_BYTES, 17 * 1000, 40 * 1000])
def test_headers_slightly_over_the_limit_are_refused_however_they_arrive(size: int):
    async def test() -> None:
        async with serving() as step:
            for head in (b"GET / HTTP/1.1\r\nwide: " + b"x" * size, b"GET /" + b"x" * size + b" HTTP/1.1\r\nhost: api"):
                for pieces in (1, 7):
                    reader, writer = await step.connect()
                    content, length = head + b"\r\n\r\n", -(-len(head) // pieces)
                    for start in range(0, len(content), length):
                        writer.write(content[start : start + length])
                        await writer.drain()
                    assert (await read_response(reader))[0] == 431
                    assert await ended(reader)
            # A smaller one on a connection that was used before.
            reader, writer = await step.connect()
            for width, status in ((15_000, 200), (15_000, 200), (size, 431)):
                writer.write(b"GET / HTTP/1.1\r\nwide: " + b"x" * width + b"\r\n\r\n")
                assert (await read_response(reader))[0] == status
            assert len(step.uids) == 2

    run(test)


def test_largest_body_with_large_headers_is_accepted_in_any_pieces():
    async def test() -> None:
        async with serving() as step:
            reader, writer = await step.connect()
            body = b"x" * middleware.MAX_BODY_BYTES
            head = b"POST / HTTP/1.1\r\nwide: " + b"x" * (middleware.MAX_BODY_BYTES // 2)
            for _ in range(3):
                writer.write(head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                assert await read_response(reader) == (200, str(middleware.MAX_BODY_BYTES).encode())
            writer.write(head + b"\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(16):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            writer.write(b"0\r\n\r\n")
            assert await read_response(reader) == (200, str(middleware.MAX_BODY_BYTES).encode())

    run(test)


def test_connection_limit_refuses_user_until_connections_close():
    async def test() -> None:
        async with serving({}.get) as step:
            inside = [await step.connect() for _ in range(connections.UNKNOWN_PEER_LIMIT)]
            for _ in range(3):
                reader, writer = await step.connect()
                assert (await read_response(reader))[0] == 503
                assert await ended(reader)
            reader, writer = inside.pop()
            writer.write(ASK.replace(b"host", b"connection: close\r\nhost"))
            assert (await read_response(reader))[0] == 200
            assert await ended(reader)
            reader, writer = await step.connect()
            writer.write(ASK)
            assert (await read_response(reader))[0] == 200

    run(test)


@pytest.mark.parametrize("pipelined", [protocol.MAX_PIPELINED, 10**9])
def test_client_that_pipelines_and_never_reads_is_closed_and_costs_bounded_memory(
    pipelined: int, monkeypatch: pytest.MonkeyPatch
):
    """It is closed for the number of its requests, and also only for what it does not read."""
    monkeypatch.setattr(protocol, "MAX_PIPELINED", pipelined)

    async def send_without_reading(writer: asyncio.StreamWriter) -> None:
        for _ in range(2000):
            writer.write(ASK * 100)
            await asyncio.wait_for(writer.drain(), 60)

    async def test() -> None:
        async with serving(write_patience=0.3) as step:
            step.body = b"x" * 4096
            _reader, writer = await step.connect()
            with pytest.raises(ConnectionError):
                await send_without_reading(writer)
            # What was answered fits into the buffers of the connection: one of the server, and those of the kernel.
            assert len(step.uids) * 4096 < protocol.MAX_WRITE_BYTES + 4 * 2**20

    run(test)


def test_client_that_reads_slowly_gets_every_response():
    async def test() -> None:
        async with serving(write_patience=10) as step:
            step.body = b"x" * 4096
            reader, writer = await step.connect()
            for _ in range(3):
                writer.write(ASK * 400)
                for _ in range(400):
                    assert (await read_response(reader))[0] == 200
            assert len(step.uids) == 1200

    run(test)

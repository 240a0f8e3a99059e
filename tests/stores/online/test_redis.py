"""The reader against a scripted socket; the behavior suite is tests/ports/test_online.py."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.builders.feature_views import edition, rows, token, view, views
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.stores.online.redis import LiveMarker, OnlineReader, OnlineWriter, parse_live_marker

HISTORY = views(view())
ANN = ("member_history", (token(1),))


Answer = Callable[[bytes], Awaitable[bytes | None]]
Ask = Callable[[OnlineReader], Coroutine[Any, Any, None]]


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
            reader = OnlineReader(Path(folder) / "s", HISTORY, user="worker", password="x", deadline=5)
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


def test_an_unknown_view_suggests_the_nearest_and_sends_nothing():
    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(NotFound) as result:
            await reader.get_rows([("member_histori", (token(1),))])
        assert "member_history" in result.value.fix

    assert run_against(refuse_requests, ask) == 0


@pytest.mark.parametrize("key", ["123-45-6789", "Ann Example", token(1) + " ", "*", ""])
def test_only_a_token_is_ever_sent_as_a_key(key: str):
    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(Refused) as result:
            await reader.get_rows([ANN, ("member_history", (key,))])
        assert not key or key not in result.value.what + result.value.fix

    assert run_against(refuse_requests, ask) == 0


@pytest.mark.parametrize("key", ["123-45-6789", token(1) + "\n", None, ""])
def test_only_tokens_are_ever_written_as_keys(key: str | None):
    # There is no server: a refusal comes before the first byte.
    writer = OnlineWriter(Path("nowhere.sock"), "acme", user="worker", password="x")
    with pytest.raises(Refused) as result:
        writer.write_rows(view(), rows(view(), [{"member_id": token(1)}, {"member_id": key}]), edition())
    assert not key or key not in result.value.what + result.value.fix


def test_concurrent_callers_share_one_write_and_get_their_own_replies():
    parts: list[bytes] = []

    async def record_requests(requests: bytes) -> bytes:
        parts.append(requests)
        return await reply_nulls(requests)

    async def ask(reader: OnlineReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN] * (n % 3 + 1)) for n in range(50)))
        assert [len(rows_found) for rows_found in result] == [n % 3 + 1 for n in range(50)]
        # Commands of one iteration of the event loop share a write.
        assert len(parts) < 10

    assert run_against(record_requests, ask) == 1


def test_an_invalid_reply_closes_the_connection_for_all_pending_calls():
    async def reply_garbage(requests: bytes) -> bytes:
        return b"?what is this\r\n"

    async def ask(reader: OnlineReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN]) for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in result} == {Unavailable}

    run_against(reply_garbage, ask)


def test_an_unexpected_reply_closes_the_connection():
    async def reply_twice(requests: bytes) -> bytes:
        return 2 * await reply_nulls(requests)

    async def ask(reader: OnlineReader) -> None:
        assert await reader.get_rows([ANN]) == [None]
        assert await reader.get_rows([ANN]) == [None]

    assert run_against(reply_twice, ask) == 2


def test_the_next_call_reopens_a_closed_connection():
    turns = iter([False, True])

    async def close_once(requests: bytes) -> bytes | None:
        return await reply_nulls(requests) if next(turns) else None

    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(Unavailable, match="closed the connection"):
            await reader.get_rows([ANN])
        assert await reader.get_rows([ANN]) == [None]

    assert run_against(close_once, ask) == 2


def test_the_reply_to_a_cancelled_caller_is_dropped():
    gate, turns = asyncio.Event(), itertools.count(1)

    async def reply_numbered(requests: bytes) -> bytes:
        await gate.wait()
        # A marker whose edition names the turn.
        output = [
            b"*4\r\n$1\r\n%d\r\n$1\r\n0\r\n$1\r\nv\r\n$-1\r\n" % next(turns) for _ in range(requests.count(b"HMGET"))
        ]
        return b"".join(output)

    async def ask(reader: OnlineReader) -> None:
        first = asyncio.create_task(reader.get_live())
        await asyncio.wait([first], timeout=0.05)
        second = asyncio.create_task(reader.get_live())
        await asyncio.wait([second], timeout=0.05)
        first.cancel()
        gate.set()
        live = await second
        assert live is not None
        assert live.edition == "2"

    assert run_against(reply_numbered, ask) == 1


def test_a_missing_socket_is_unavailable_with_a_fix():
    async def ask() -> None:
        reader = OnlineReader(Path("nowhere.sock"), HISTORY, user="worker", password="x", deadline=5)
        for _ in range(2):
            with pytest.raises(Unavailable) as result:
                await reader.get_rows([ANN])
            assert "wellspring up" in result.value.fix

    asyncio.run(ask())


def test_an_incomplete_marker_is_corrupted():
    live = LiveMarker("a" * 12, edition().known_since.replace(year=1970), "v")
    assert parse_live_marker([None, None, None, None]) is None
    assert parse_live_marker([None, None, None, b"w "]) is None
    assert parse_live_marker([b"a" * 12, b"0", b"v", None]) == live
    assert parse_live_marker([b"a" * 12, b"0", b"v", b"w x "]) == live._replace(pending_views=("w", "x"))
    for torn in ([b"a" * 12, None, b"v", None], [b"a" * 12, b"soon", b"v", None], []):
        with pytest.raises(CorruptedError, match="incomplete"):
            parse_live_marker(torn)

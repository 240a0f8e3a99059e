"""Replies reach the callers that received for them, and a broken reply closes the connection."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.builders.scripted_redis import ANN, HISTORY, reply_nulls, run_against
from tests.builders.valkey import ROW_KEY
from wellspring.errors import Unavailable
from wellspring.stores.online.feast_codec import seal_text
from wellspring.stores.online.redis.marker import marker_key
from wellspring.stores.online.redis.reader import RedisReader


def test_concurrent_callers_share_one_write_and_get_their_own_replies():
    parts: list[bytes] = []

    async def record_requests(requests: bytes) -> bytes:
        parts.append(requests)
        return await reply_nulls(requests)

    async def ask(reader: RedisReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN] * (n % 3 + 1)) for n in range(50)))
        assert [len(rows_found) for rows_found in result] == [n % 3 + 1 for n in range(50)]
        # Commands of one iteration of the event loop share a write.
        assert len(parts) < 10

    assert run_against(record_requests, ask) == 1


def test_an_invalid_reply_closes_the_connection_for_all_pending_calls():
    async def reply_garbage(requests: bytes) -> bytes:
        return b"?what is this\r\n"

    async def ask(reader: RedisReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN]) for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in result} == {Unavailable}

    run_against(reply_garbage, ask)


def test_an_unexpected_reply_closes_the_connection():
    async def reply_twice(requests: bytes) -> bytes:
        return 2 * await reply_nulls(requests)

    async def ask(reader: RedisReader) -> None:
        assert await reader.get_rows([ANN]) == [None]
        assert await reader.get_rows([ANN]) == [None]

    assert run_against(reply_twice, ask) == 2


def test_the_next_call_reopens_a_closed_connection():
    turns = iter([False, True])

    async def close_once(requests: bytes) -> bytes | None:
        return await reply_nulls(requests) if next(turns) else None

    async def ask(reader: RedisReader) -> None:
        with pytest.raises(Unavailable, match="closed the connection"):
            await reader.get_rows([ANN])
        assert await reader.get_rows([ANN]) == [None]

    assert run_against(close_once, ask) == 2


def encode_marker(turn: int) -> bytes:
    """Reply with a marker whose edition names the turn."""
    words = (b"%d" % turn, b"0", b"0", b"v")
    fields = (*words, seal_text(ROW_KEY, marker_key(HISTORY.project).encode(), *words))
    return b"*5\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in fields)


def test_the_reply_to_a_cancelled_caller_is_dropped():
    received, gate, turns = asyncio.Event(), asyncio.Event(), itertools.count(1)

    async def reply_numbered(requests: bytes) -> bytes:
        received.set()
        await gate.wait()
        return b"".join(encode_marker(next(turns)) for _ in range(requests.count(b"HMGET")))

    async def ask(reader: RedisReader) -> None:
        first = asyncio.create_task(reader.get_live())
        await received.wait()
        second = asyncio.create_task(reader.get_live())
        # The connection is open, so the second request is on its way after one turn.
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        live = await second
        assert live is not None
        assert live.edition == "2"

    assert run_against(reply_numbered, ask) == 1

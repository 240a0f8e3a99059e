"""The reader on a socket that says what a test makes it say; the behaviour suite is tests/ports/test_online.py."""

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


def against(answer: Answer, ask: Ask) -> int:
    """Ask a socket that answers the login, and then as `answer` says: bytes, or None to hang up.

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
            reader = OnlineReader(Path(folder) / "s", HISTORY, user="house", password="x", deadline=5)
            try:
                await ask(reader)
            finally:
                await reader.close()
                server.close()
                await asyncio.gather(*filter(None, serving), return_exceptions=True)

    asyncio.run(run())
    return len(serving)


async def never(requests: bytes) -> bytes:
    raise AssertionError(f"it was asked: {requests!r}")


async def nothing(requests: bytes) -> bytes:
    """Answer each HMGET of a view with as many nulls as it asks for."""
    return requests.count(b"HMGET") * (b"*6\r\n" + 6 * b"$-1\r\n")


def test_an_unknown_view_is_told_with_the_nearest_and_nothing_is_asked():
    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(NotFound) as result:
            await reader.get_rows([("member_histori", (token(1),))])
        assert "member_history" in result.value.fix

    assert against(never, ask) == 0


@pytest.mark.parametrize("key", ["123-45-6789", "Ann Example", token(1) + " ", "*", ""])
def test_only_a_token_is_ever_sent_as_a_key(key: str):
    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(Refused) as result:
            await reader.get_rows([ANN, ("member_history", (key,))])
        assert not key or key not in result.value.what + result.value.fix

    assert against(never, ask) == 0


@pytest.mark.parametrize("key", ["123-45-6789", token(1) + "\n", None, ""])
def test_only_tokens_are_ever_written_as_keys(key: str | None):
    # There is no server: a refusal comes before the first byte.
    writer = OnlineWriter(Path("nowhere.sock"), "acme", user="house", password="x")
    with pytest.raises(Refused) as result:
        writer.write_rows(view(), rows(view(), [{"member_id": token(1)}, {"member_id": key}]), edition())
    assert not key or key not in result.value.what + result.value.fix


def test_callers_of_one_turn_share_one_write_and_each_gets_its_own_replies():
    parts: list[bytes] = []

    async def noted(requests: bytes) -> bytes:
        parts.append(requests)
        return await nothing(requests)

    async def ask(reader: OnlineReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN] * (n % 3 + 1)) for n in range(50)))
        assert [len(item) for item in result] == [n % 3 + 1 for n in range(50)]
        # What is asked in one turn of the loop leaves together.
        assert len(parts) < 10

    assert against(noted, ask) == 1


def test_what_is_no_reply_ends_the_connection_for_all_who_wait():
    async def noise(requests: bytes) -> bytes:
        return b"?what is this\r\n"

    async def ask(reader: OnlineReader) -> None:
        result = await asyncio.gather(*(reader.get_rows([ANN]) for _ in range(3)), return_exceptions=True)
        assert {type(item) for item in result} == {Unavailable}

    against(noise, ask)


def test_a_reply_that_nobody_asked_for_ends_the_connection():
    async def twice(requests: bytes) -> bytes:
        return 2 * await nothing(requests)

    async def ask(reader: OnlineReader) -> None:
        assert await reader.get_rows([ANN]) == [None]
        assert await reader.get_rows([ANN]) == [None]

    assert against(twice, ask) == 2


def test_a_connection_that_was_closed_is_opened_again_by_the_next_call():
    turns = iter([False, True])

    async def hang_up_once(requests: bytes) -> bytes | None:
        return await nothing(requests) if next(turns) else None

    async def ask(reader: OnlineReader) -> None:
        with pytest.raises(Unavailable, match="closed the connection"):
            await reader.get_rows([ANN])
        assert await reader.get_rows([ANN]) == [None]

    assert against(hang_up_once, ask) == 2


def test_a_caller_that_gives_up_leaves_its_reply_to_nobody():
    gate, turns = asyncio.Event(), itertools.count(1)

    async def numbered(requests: bytes) -> bytes:
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

    assert against(numbered, ask) == 1


def test_a_socket_that_is_not_there_is_told_by_its_mend():
    async def ask() -> None:
        reader = OnlineReader(Path("nowhere.sock"), HISTORY, user="house", password="x", deadline=5)
        for _ in range(2):
            with pytest.raises(Unavailable) as result:
                await reader.get_rows([ANN])
            assert "wellspring up" in result.value.fix

    asyncio.run(ask())


def test_a_torn_marker_is_told():
    live = LiveMarker("a" * 12, edition().known_since.replace(year=1970), "v")
    assert parse_live_marker([None, None, None, None]) is None
    assert parse_live_marker([None, None, None, b"w "]) is None
    assert parse_live_marker([b"a" * 12, b"0", b"v", None]) == live
    assert parse_live_marker([b"a" * 12, b"0", b"v", b"w x "]) == live._replace(pending_views=("w", "x"))
    for torn in ([b"a" * 12, None, b"v", None], [b"a" * 12, b"soon", b"v", None], []):
        with pytest.raises(CorruptedError, match="incomplete"):
            parse_live_marker(torn)

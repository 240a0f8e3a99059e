"""The reader on a real Valkey that dies, hangs, or replies with errors."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.builders.feature_views import edition, rows, token
from tests.builders.online_rows import ALL, ANN, MEMBERS, member_rows
from tests.builders.sockets import own_server
from tests.builders.valkey import PASSWORD, ROW_KEY, USER, Valkey
from wellspring.errors import Unavailable
from wellspring.stores.online.feast_codec import RowCodec
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.reader import RedisReader
from wellspring.stores.online.redis.writer import RedisWriter

pytestmark = pytest.mark.live


def test_a_store_that_dies_mid_call_fails_all_pending_calls_and_recovers(mortal: Valkey):
    writer = mortal.writer()
    writer.write_rows(MEMBERS, member_rows(1), edition())

    async def die() -> None:
        reader = mortal.reader(ALL)
        assert (await reader.get_rows([("member_history", ANN)]))[0] is not None
        mortal.pause()
        waiting = [asyncio.create_task(reader.get_rows([("member_history", ANN)])) for _ in range(20)]
        await asyncio.wait(waiting, timeout=0.05)
        assert not any(task.done() for task in waiting)
        mortal.kill()
        result = await asyncio.gather(*waiting, return_exceptions=True)
        assert {(type(error), "closed the connection" in str(error)) for error in result} == {(Unavailable, True)}
        with pytest.raises(Unavailable) as down:
            await reader.get_rows([("member_history", ANN)])
        assert "wellspring up" in down.value.fix
        assert "token" not in down.value.what
        mortal.start()
        # The rows were in memory only; they are materialized again, and readers need no restart.
        assert await reader.get_rows([("member_history", ANN)]) == [None]
        await asyncio.to_thread(writer.write_rows, MEMBERS, member_rows(2), edition())
        (row,) = await reader.get_rows([("member_history", ANN)])
        assert row is not None
        assert row.values["denials"] == 2
        await reader.close()

    asyncio.run(die())
    writer.close()


def test_a_hanging_store_costs_the_deadline_and_its_late_reply_is_dropped(store: Valkey, writer: RedisWriter):
    writer.write_rows(MEMBERS, rows(MEMBERS, [{"member_id": token(n), "denials": n} for n in range(3)]), edition())

    async def hang() -> None:
        reader = store.reader(ALL, deadline=1)
        await reader.get_rows([("member_history", (token(0),))])
        store.pause()
        started = time.perf_counter()
        with pytest.raises(Unavailable, match="within 1 s"):
            await reader.get_rows([("member_history", (token(1),))])
        assert time.perf_counter() - started < 30
        store.resume()
        (row,) = await reader.get_rows([("member_history", (token(2),))])
        assert row is not None
        assert row.values["denials"] == 2
        await reader.close()

    asyncio.run(hang())


def test_pending_calls_of_a_hanging_store_are_limited(store: Valkey):
    async def hang() -> None:
        reader = store.reader(ALL, deadline=1, most=5)
        await reader.get_rows([("member_history", ANN)])
        store.pause()
        result = await asyncio.gather(
            *(reader.get_rows([("member_history", ANN)]) for _ in range(12)), return_exceptions=True
        )
        store.resume()
        assert sum("already waiting for the online store" in str(error) for error in result) == 7
        await reader.close()

    asyncio.run(hang())


def test_closing_the_reader_fails_pending_calls(store: Valkey):
    async def close() -> None:
        reader = store.reader(ALL)
        await reader.get_rows([("member_history", ANN)])
        store.pause()
        waiting = asyncio.create_task(reader.get_rows([("member_history", ANN)]))
        await asyncio.wait([waiting], timeout=0.05)
        await reader.close()
        with pytest.raises(Unavailable):
            await waiting

    asyncio.run(close())


def test_a_wrong_password_error_omits_the_password(store: Valkey):
    writer = RedisWriter(own_server(store.socket), "acme", login=StoreLogin(USER, "a-wrong-one", ROW_KEY))
    with pytest.raises(Unavailable) as refused:
        writer.get_live()
    reader = RedisReader(own_server(store.socket), ALL, login=StoreLogin(USER, "a-wrong-one", ROW_KEY), deadline=60)

    async def ask() -> None:
        await reader.get_rows([("member_history", ANN)])

    with pytest.raises(Unavailable, match="WRONGPASS") as late:
        asyncio.run(ask())
    assert not any("a-wrong-one" in error.value.what + error.value.fix for error in (refused, late))


def test_an_error_reply_is_reported_by_its_first_word_only(store: Valkey, writer: RedisWriter):
    from redis import Redis

    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as second:
        second.set(RowCodec("acme", MEMBERS).encode_key(ANN), "no hash")
    with pytest.raises(Unavailable) as refused:
        writer.read_row(MEMBERS, ANN)
    assert "member" not in refused.value.what

    async def ask() -> None:
        reader = store.reader(ALL)
        try:
            await reader.get_rows([("member_history", ANN)])
        finally:
            await reader.close()

    with pytest.raises(Unavailable, match="WRONGTYPE"):
        asyncio.run(ask())

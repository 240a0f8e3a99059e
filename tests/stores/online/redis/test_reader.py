"""The reader against a scripted socket; with a real server in test_reader_live.py and tests/ports/test_online.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.builders.feature_views import token
from tests.builders.scripted_redis import ANN, HISTORY, refuse_requests, run_against
from tests.builders.sockets import own_server
from tests.builders.valkey import ROW_KEY
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.reader import RedisReader


def test_an_unknown_view_suggests_the_nearest_and_sends_nothing():
    async def ask(reader: RedisReader) -> None:
        with pytest.raises(NotFound) as result:
            await reader.get_rows([("member_histori", (token(1),))])
        assert "member_history" in result.value.fix

    assert run_against(refuse_requests, ask) == 0


@pytest.mark.parametrize("key", ["123-45-6789", "Ann Example", token(1) + " ", "*", ""])
def test_only_a_token_is_ever_sent_as_a_key(key: str):
    async def ask(reader: RedisReader) -> None:
        with pytest.raises(Refused) as result:
            await reader.get_rows([ANN, ("member_history", (key,))])
        assert not key or key not in result.value.what + result.value.fix

    assert run_against(refuse_requests, ask) == 0


def test_a_missing_socket_is_unavailable_with_a_fix():
    async def ask() -> None:
        reader = RedisReader(
            own_server(Path("nowhere.sock")), HISTORY, login=StoreLogin("worker", "x", ROW_KEY), deadline=60
        )
        for _ in range(2):
            with pytest.raises(Unavailable) as result:
                await reader.get_rows([ANN])
            assert "wellspring up" in result.value.fix

    asyncio.run(ask())

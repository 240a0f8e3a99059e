"""The writer with and without a server; the behavior suite is tests/ports/test_online.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.feature_views import edition, rows, token, view
from tests.builders.online_rows import ANN, MEMBERS, member_rows
from tests.builders.sockets import own_server
from tests.builders.valkey import PASSWORD, USER, Valkey
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.stores.online.feast_codec import RowCodec
from wellspring.stores.online.redis.writer import RedisWriter


@pytest.mark.parametrize("key", ["123-45-6789", token(1) + "\n", None, ""])
def test_only_tokens_are_ever_written_as_keys(key: str | None):
    # There is no server: a refusal comes before the first byte.
    writer = RedisWriter(own_server(Path("nowhere.sock")), "acme", user="worker", password="x")
    with pytest.raises(Refused) as result:
        writer.write_rows(view(), rows(view(), [{"member_id": token(1)}, {"member_id": key}]), edition())
    assert not key or key not in result.value.what + result.value.fix


@pytest.mark.live
def test_a_row_changed_by_another_program_is_corrupted_and_not_served(store: Valkey, writer: RedisWriter):
    writer.write_rows(MEMBERS, member_rows(1), edition())
    from redis import Redis

    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as second:
        second.hset(RowCodec("acme", MEMBERS).encode_key(ANN), "_ts:member_history", "x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CorruptedError, match="another program"):
        writer.read_row(MEMBERS, ANN)


@pytest.mark.live
def test_bulk_writes_share_round_trips(store: Valkey, writer: RedisWriter):
    narrow = view("narrow", {f"f{n}": "int64" for n in range(8)})
    result = rows(narrow, [{"member_id": token(n), **{f"f{i}": n for i in range(8)}} for n in range(20_000)])
    before = store.count_reads()
    writer.write_rows(narrow, result, edition())
    # The server reads a batch in several pieces; one round trip for each row would be 20,000 reads.
    assert store.count_reads() - before < 2_000


@pytest.mark.live
def test_a_writer_raises_while_the_store_is_down_and_recovers(mortal: Valkey):
    writer = mortal.writer()
    writer.write_rows(MEMBERS, member_rows(1), edition())
    mortal.kill()
    for act in (
        lambda: writer.write_rows(MEMBERS, member_rows(2), edition()),
        writer.get_live,
        lambda: writer.read_row(MEMBERS, ANN),
    ):
        with pytest.raises(Unavailable, match="does not respond"):
            act()
    mortal.start()
    assert writer.write_rows(MEMBERS, member_rows(3), edition()).rows == 1
    writer.close()

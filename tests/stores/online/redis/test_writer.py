"""The writer with and without a server; the behavior suite is tests/ports/test_online.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import feature_views
from tests.builders.feature_views import edition, rows, token, view
from tests.builders.online_rows import ANN, CLAIMS, MEMBERS, member_rows
from tests.builders.sockets import own_server
from tests.builders.valkey import PASSWORD, ROW_KEY, USER, Valkey
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.stores.online.feast_codec import RowCodec
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.writer import RedisWriter


@pytest.mark.parametrize("key", ["123-45-6789", token(1) + "\n", None, ""])
def test_only_tokens_are_ever_written_as_keys(key: str | None):
    # There is no server: a refusal comes before the first byte.
    writer = RedisWriter(own_server(Path("nowhere.sock")), "acme", login=StoreLogin("worker", "x", ROW_KEY))
    with pytest.raises(Refused) as result:
        writer.write_rows(view(), rows(view(), [{"member_id": token(1)}, {"member_id": key}]), edition())
    assert not key or key not in result.value.what + result.value.fix


@pytest.mark.live
def test_a_row_changed_by_another_program_is_corrupted_and_not_served(store: Valkey, writer: RedisWriter):
    writer.write_rows(MEMBERS, member_rows(1), edition())
    from redis import Redis

    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as second:
        second.hset(RowCodec("acme", MEMBERS).encode_key(ANN), "_ts:member_history", "x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CorruptedError, match="not one that a materialization wrote"):
        writer.read_row(MEMBERS, ANN)


@pytest.mark.live
def test_the_row_of_another_entity_is_refused_under_this_key(store: Valkey, writer: RedisWriter):
    writer.write_rows(MEMBERS, rows(MEMBERS, [{"member_id": token(n), "denials": n} for n in (1, 2)]), edition())
    from redis import Redis

    codec = RowCodec("acme", MEMBERS)
    first, second = (codec.encode_key((token(n),)) for n in (1, 2))
    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as attacker:
        copied: dict[bytes, bytes] = attacker.hgetall(second)  # type: ignore[assignment]
        attacker.hset(first, mapping=copied)  # type: ignore[arg-type]
    row = writer.read_row(MEMBERS, (token(2),))
    assert row is not None
    assert row.values["denials"] == 2
    with pytest.raises(CorruptedError, match="not one that a materialization wrote for its key"):
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


@pytest.mark.live
def test_a_check_counts_every_row_that_a_reader_refuses(store: Valkey, writer: RedisWriter):
    from redis import Redis

    definitions = [feature_views.views(MEMBERS), feature_views.views(CLAIMS)]
    writer.write_rows(MEMBERS, rows(MEMBERS, [{"member_id": token(n), "denials": n} for n in range(3)]), edition())
    writer.write_rows(CLAIMS, rows(CLAIMS, [{"member_id": token(1), "denials": 0.5}]), edition())
    writer.set_live(edition(), as_of=edition().known_since, views="d" * 64)
    assert writer.check_rows(definitions) == (4, 0, False)
    codec = RowCodec("acme", MEMBERS)
    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as attacker:
        attacker.hset(codec.encode_key(ANN), codec.fields[0], b"\x20\x07")  # type: ignore[arg-type]
        attacker.hset("ws:edition:acme", "as_of", "1")
    assert writer.check_rows(definitions) == (4, 1, True)

"""Behavior of the online store on a real Valkey: the newest rows win, and failures are reported in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from tests.builders.feature_views import edition, instant, rows, token, view, views
from tests.builders.valkey import PASSWORD, USER, Valkey, running
from wellspring.errors import CorruptedError, Unavailable
from wellspring.records.data import FeatureRow
from wellspring.stores.online.feast_codec import RowCodec
from wellspring.stores.online.redis import LiveMarker, OnlineReader, OnlineWriter

pytestmark = pytest.mark.live
MEMBERS, CLAIMS = view(), view("member_claims", {"denials": "float64", "open": "int64"})
ALL = views(MEMBERS, CLAIMS)
ANN = (token(1),)


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as started:
        yield started


@pytest.fixture
def store(server: Valkey) -> Iterator[Valkey]:
    with server.raw() as bare:
        bare.sendall(b"FLUSHALL\r\n")
        assert bare.recv(100) == b"+OK\r\n"
    yield server
    server.resume()


@pytest.fixture
def writer(store: Valkey) -> Iterator[OnlineWriter]:
    built = store.writer()
    yield built
    built.close()


def member_rows(denials: int | None, second: float = 0, sequence: int = 0, number: int = 1) -> pa.Table:
    result = {"member_id": token(number), "denials": denials, "known_since": instant(second), "sequence": sequence}
    return rows(MEMBERS, [result])


def denials(writer: OnlineWriter) -> object:
    row = writer.read_row(MEMBERS, ANN)
    assert row is not None
    return row.values["denials"]


def test_writer_and_reader_return_the_same_row(store: Valkey, writer: OnlineWriter):
    result = {"member_id": token(1), "denials": -3, "rate": -0.0, "covered": False, "plan": "ö" * 200}
    assert writer.write_rows(
        MEMBERS, rows(MEMBERS, [{**result, "known_since": instant(2.5), "sequence": 9}]), edition()
    ) == (
        1,
        0,
    )
    row = writer.read_row(MEMBERS, ANN)
    assert row is not None
    assert (row.values, row.known_since, row.sequence, row.edition) == (
        {key: value for key, value in result.items() if key != "member_id"},
        instant(2.5),
        9,
        "0123456789ab",
    )
    assert read_with_reader(store, [("member_history", ANN)]) == [row]


def read_with_reader(store: Valkey, keys: list[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
    async def ask() -> list[FeatureRow | None]:
        reader = store.reader(ALL)
        try:
            return await reader.get_rows(keys)
        finally:
            await reader.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("first", "then", "wins"),
    [
        ((5, 0), (9, 0), "then"),
        ((9, 0), (5, 0), "first"),
        ((5, 1), (5, 2), "then"),
        ((5, 2), (5, 1), "first"),
        ((9, 1), (5, 2), "first"),
        ((5, -2), (5, -1), "then"),
        ((5, 0), (5, 2**62), "then"),
        ((5, 2**62), (5, 2**62 - 1), "first"),
        ((-1, 0), (0.000001, 0), "then"),
        ((0.000001, 0), (-1, 0), "first"),
    ],
)
def test_the_newest_row_wins_regardless_of_write_order(
    writer: OnlineWriter, first: tuple[float, int], then: tuple[float, int], wins: str
):
    writer.write_rows(MEMBERS, member_rows(1, *first), edition())
    stored = writer.write_rows(MEMBERS, member_rows(2, *then), edition())
    assert denials(writer) == (2 if wins == "then" else 1)
    assert stored == ((1, 0) if wins == "then" else (0, 1))


def test_on_a_tie_the_later_edition_wins(writer: OnlineWriter):
    late, early = edition("b" * 12, published=9), edition("a" * 12, published=5)
    writer.write_rows(MEMBERS, member_rows(1), late)
    assert writer.write_rows(MEMBERS, member_rows(2), early).superseded_rows == 1
    assert denials(writer) == 1
    assert writer.write_rows(MEMBERS, member_rows(3), late).rows == 1
    assert denials(writer) == 3


def test_within_one_write_the_newest_row_of_an_entity_wins(writer: OnlineWriter):
    result = [{"member_id": token(1), "denials": n, "known_since": instant(n)} for n in (3, 9, 5)]
    assert writer.write_rows(MEMBERS, rows(MEMBERS, result), edition()) == (2, 1)
    assert denials(writer) == 9


def test_views_of_the_same_entity_are_separate(store: Valkey, writer: OnlineWriter):
    writer.write_rows(MEMBERS, member_rows(1), edition())
    assert writer.read_row(CLAIMS, ANN) is None
    writer.write_rows(CLAIMS, rows(CLAIMS, [{"member_id": token(1), "denials": 0.5, "sequence": -1}]), edition())
    assert denials(writer) == 1
    both = read_with_reader(store, [("member_claims", ANN), ("member_history", ANN)])
    assert [row.values["denials"] for row in both if row is not None] == [0.5, 1]


def test_a_removed_feature_is_never_read_beside_newer_ones(store: Valkey, writer: OnlineWriter):
    fewer = view("member_history", {"denials": "int64", "plan": "string"})
    result = [{"member_id": token(n), "denials": n, "rate": 0.5} for n in (1, 2)]
    writer.write_rows(MEMBERS, rows(MEMBERS, result), edition())
    writer.write_rows(fewer, rows(fewer, [{"member_id": token(1), "denials": 9, "known_since": instant(9)}]), edition())
    # Under the old definition the first row is incomplete; the second was never written with the new one.
    assert writer.read_row(MEMBERS, ANN) is None
    for definition in (MEMBERS, fewer):
        row = writer.read_row(definition, (token(2),))
        assert row is not None
        assert row.values["denials"] == 2
    assert read_with_reader(store, [("member_history", ANN)]) == [None]
    # A new write with the old definition makes the row complete again.
    writer.write_rows(MEMBERS, rows(MEMBERS, [{**result[0], "known_since": instant(10)}]), edition())
    assert denials(writer) == 1


def test_two_projects_share_a_store_but_no_rows(store: Valkey, writer: OnlineWriter):
    second = store.writer("globex")
    second.write_rows(MEMBERS, member_rows(7), edition())
    assert writer.read_row(MEMBERS, ANN) is None
    assert second.set_live(edition(), as_of=instant(0), views="v" * 64)
    assert writer.get_live() is None
    second.close()


def test_many_rows_are_read_in_one_round_trip_in_order(store: Valkey, writer: OnlineWriter):
    result = [{"member_id": token(n), "denials": n} for n in range(450)]
    assert writer.write_rows(MEMBERS, rows(MEMBERS, result), edition()).rows == 450

    async def ask() -> list[object]:
        reader = store.reader(ALL)
        keys = [("member_history", (token(n),)) for n in (449, 5000, 0, 7)]
        # Concurrent callers share the connection.
        both = await asyncio.gather(*(reader.get_rows([key]) for key in keys), reader.get_rows(keys))
        await reader.close()
        assert [row for (row,) in both[:-1]] == both[-1]
        return [row.values["denials"] if row is not None else None for row in both[-1]]

    assert asyncio.run(ask()) == [449, None, 0, 7]


def test_the_marker_holds_the_live_edition_and_never_goes_back(store: Valkey, writer: OnlineWriter):
    assert writer.get_live() is None
    late, early = edition("b" * 12, published=9), edition("a" * 12, published=5)
    assert writer.set_live(late, as_of=instant(8), views="v" * 64)
    assert not writer.set_live(early, as_of=instant(4), views="w" * 64)
    assert writer.set_live(late, as_of=instant(8), views="v" * 64)
    result = LiveMarker("b" * 12, instant(8), "v" * 64)
    assert writer.get_live() == result
    writer.write_rows(MEMBERS, member_rows(1), late)

    async def look() -> object:
        reader = store.reader(ALL)
        live, (row,) = await reader.get_with_marker([("member_history", ANN)])
        assert await reader.get_live() == live
        assert await reader.get_rows([]) == []
        await reader.close()
        assert row is not None
        return live

    assert asyncio.run(look()) == result


def test_pending_views_are_returned_with_the_marker_until_an_edition_is_live(store: Valkey, writer: OnlineWriter):
    writer.begin_write("w" * 64)
    assert writer.get_live() is None
    assert writer.set_live(edition("b" * 12, published=9), as_of=instant(8), views="w" * 64)
    live = LiveMarker("b" * 12, instant(8), "w" * 64)
    assert writer.get_live() == live
    # Two writers were cut short: rows of either may lie there.
    for digest in ("x" * 64, "y" * 64, "x" * 64):
        writer.begin_write(digest)
    assert not writer.set_live(edition("a" * 12, published=5), as_of=instant(4), views="x" * 64)
    writer.write_rows(MEMBERS, member_rows(1), edition())

    async def look() -> object:
        reader = store.reader(ALL)
        result, _ = await reader.get_with_marker([("member_history", ANN)])
        await reader.close()
        return result

    assert writer.get_live() == asyncio.run(look()) == live._replace(pending_views=("x" * 64, "y" * 64))
    assert writer.set_live(edition("c" * 12, published=11), as_of=instant(10), views="y" * 64)
    assert writer.get_live() == LiveMarker("c" * 12, instant(10), "y" * 64)


def test_a_row_changed_by_another_program_is_corrupted_and_not_served(store: Valkey, writer: OnlineWriter):
    writer.write_rows(MEMBERS, member_rows(1), edition())
    from redis import Redis

    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as second:
        second.hset(RowCodec("acme", MEMBERS).encode_key(ANN), "_ts:member_history", "x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CorruptedError, match="another program"):
        writer.read_row(MEMBERS, ANN)


def test_two_concurrent_writers_leave_the_newest_rows(store: Valkey, writer: OnlineWriter):
    things, turns = 300, 8

    def write(turn: int) -> None:
        own_writer = store.writer()
        result = [{"member_id": token(n), "denials": turn, "known_since": instant(turn)} for n in range(things)]
        own_writer.write_rows(MEMBERS, rows(MEMBERS, result), edition())
        own_writer.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [3, 7, 1, 6, 0, 5, 2, 4][:turns]))
    stored_rows = writer.read_rows(MEMBERS, [(token(n),) for n in range(things)])
    assert {row.values["denials"] for row in stored_rows if row is not None} == {turns - 1}


def test_bulk_writes_exceed_ten_thousand_rows_a_second(writer: OnlineWriter):
    narrow = view("narrow", {f"f{n}": "int64" for n in range(8)})
    result = rows(narrow, [{"member_id": token(n), **{f"f{i}": n for i in range(8)}} for n in range(20_000)])
    started = time.perf_counter()
    writer.write_rows(narrow, result, edition())
    # A benchmark measures the rate; this test fails only if each row costs a round trip, even on a busy machine.
    assert 20_000 / (time.perf_counter() - started) > 10_000


@pytest.fixture
def mortal() -> Iterator[Valkey]:
    """A server of its own, for a test that kills it."""
    with running() as started:
        yield started


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


def test_a_hanging_store_costs_the_deadline_and_its_late_reply_is_dropped(store: Valkey, writer: OnlineWriter):
    writer.write_rows(MEMBERS, rows(MEMBERS, [{"member_id": token(n), "denials": n} for n in range(3)]), edition())

    async def hang() -> None:
        reader = store.reader(ALL, deadline=0.2)
        await reader.get_rows([("member_history", (token(0),))])
        store.pause()
        started = time.perf_counter()
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await reader.get_rows([("member_history", (token(1),))])
        assert time.perf_counter() - started < 2
        store.resume()
        (row,) = await reader.get_rows([("member_history", (token(2),))])
        assert row is not None
        assert row.values["denials"] == 2
        await reader.close()

    asyncio.run(hang())


def test_pending_calls_of_a_hanging_store_are_limited(store: Valkey):
    async def hang() -> None:
        reader = store.reader(ALL, deadline=0.3, most=5)
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
    writer = OnlineWriter(store.socket, "acme", user=USER, password="a-wrong-one")
    with pytest.raises(Unavailable) as refused:
        writer.get_live()
    reader = OnlineReader(store.socket, ALL, user=USER, password="a-wrong-one", deadline=5)

    async def ask() -> None:
        await reader.get_rows([("member_history", ANN)])

    with pytest.raises(Unavailable, match="WRONGPASS") as late:
        asyncio.run(ask())
    assert not any("a-wrong-one" in error.value.what + error.value.fix for error in (refused, late))


def test_an_error_reply_is_reported_by_its_first_word_only(store: Valkey, writer: OnlineWriter):
    from redis import Redis

    with Redis(unix_socket_path=str(store.socket), username=USER, password=PASSWORD) as second:
        second.set(RowCodec("acme", MEMBERS).encode_key(ANN), "no hash")
    with pytest.raises(Unavailable) as refused:
        writer.read_row(MEMBERS, ANN)
    assert "member" not in refused.value.what
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        read_with_reader(store, [("member_history", ANN)])


def test_an_empty_table_is_written(writer: OnlineWriter):
    assert writer.write_rows(MEMBERS, rows(MEMBERS, []), edition()) == (0, 0)

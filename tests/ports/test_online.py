"""Behavior of every online store: the newest row wins, keys are tokens, and the marker never goes back.

The suite runs over each adapter that wellspring registers, and over one in memory. A new adapter needs its server,
found by its name (`tests.builders.plugins.find_suite_builders`), and nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders.feature_views import edition, instant, rows, token
from tests.builders.online_rows import ALL, ANN, CLAIMS, MEMBERS, denials, member_rows
from tests.builders.online_stores import SERVERS, OnlineStoreFixture
from wellspring.errors import NotFound, Refused
from wellspring.plugins import PluginRegistry
from wellspring.records.features import FeatureRow
from wellspring.stores.online.port import LiveMarker, OnlineStoreAdapter, OnlineWriter
from wellspring.stores.online.registry import ENTRY_POINT_GROUP

REGISTRY = PluginRegistry(ENTRY_POINT_GROUP, OnlineStoreAdapter, noun="online store")


def needs_server(name: str) -> bool:
    """Tell whether an adapter needs a server of `wellspring up`."""
    return name in REGISTRY.names() and REGISTRY.load(name).embedded_server is not None


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.live if needs_server(name) else ()) for name in SERVERS],
)
def server(request: pytest.FixtureRequest) -> Iterator[OnlineStoreFixture]:
    with SERVERS[request.param]() as started:
        yield started


@pytest.fixture
def store(server: OnlineStoreFixture) -> OnlineStoreFixture:
    server.empty()
    return server


@pytest.fixture
def writer(store: OnlineStoreFixture) -> Iterator[OnlineWriter]:
    built = store.writer("acme")
    yield built
    built.close()


def test_each_registered_online_store_runs_this_suite():
    assert set(REGISTRY.names()) == set(SERVERS) - {"memory"}


def test_writer_and_reader_return_the_same_row(store: OnlineStoreFixture, writer: OnlineWriter):
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


def read_with_reader(store: OnlineStoreFixture, keys: list[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
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


def test_views_of_the_same_entity_are_separate(store: OnlineStoreFixture, writer: OnlineWriter):
    writer.write_rows(MEMBERS, member_rows(1), edition())
    assert writer.read_row(CLAIMS, ANN) is None
    writer.write_rows(CLAIMS, rows(CLAIMS, [{"member_id": token(1), "denials": 0.5, "sequence": -1}]), edition())
    assert denials(writer) == 1
    both = read_with_reader(store, [("member_claims", ANN), ("member_history", ANN)])
    assert [row.values["denials"] for row in both if row is not None] == [0.5, 1]


def test_two_versions_of_a_view_are_stored_apart(store: OnlineStoreFixture, writer: OnlineWriter):
    first, second = (MEMBERS.model_copy(update={"version": version}) for version in ("a" * 12, "b" * 12))
    late, early = edition("b" * 12, published=9), edition("a" * 12, published=5)
    writer.write_rows(first, member_rows(1), late, warm=[second])
    # A row of one version never replaces that of another, whatever their order.
    assert writer.write_rows(second, member_rows(2), early, warm=[first]).rows == 1
    for view_version, expected in ((first, 1), (second, 2)):
        row = writer.read_row(view_version, ANN)
        assert row is not None
        assert row.values["denials"] == expected
    assert writer.read_row(MEMBERS, ANN) is None


def test_a_written_row_removes_those_of_versions_that_are_not_kept(store: OnlineStoreFixture, writer: OnlineWriter):
    first, second, third = (MEMBERS.model_copy(update={"version": version * 12}) for version in "abc")
    writer.write_rows(first, rows(MEMBERS, [{"member_id": token(n), "denials": n} for n in (1, 2)]), edition())
    writer.write_rows(second, member_rows(2), edition(), warm=[first])
    writer.write_rows(third, member_rows(3), edition(), warm=[second])
    assert [writer.read_row(version, ANN) is not None for version in (first, second, third)] == [False, True, True]
    # An entity that was not written again keeps its row.
    assert writer.read_row(first, (token(2),)) is not None


def test_two_projects_share_a_store_but_no_rows(store: OnlineStoreFixture, writer: OnlineWriter):
    second = store.writer("globex")
    second.write_rows(MEMBERS, member_rows(7), edition())
    assert writer.read_row(MEMBERS, ANN) is None
    assert second.set_live(edition(), as_of=instant(0), views="v" * 64)
    assert writer.get_live() is None
    second.close()


def test_many_rows_are_read_in_one_round_trip_in_order(store: OnlineStoreFixture, writer: OnlineWriter):
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


def test_the_marker_holds_the_live_edition_and_never_goes_back(store: OnlineStoreFixture, writer: OnlineWriter):
    assert writer.get_live() is None
    late, early = edition("b" * 12, published=9), edition("a" * 12, published=5)
    assert writer.set_live(late, as_of=instant(8), views=ALL.digest)
    assert not writer.set_live(early, as_of=instant(4), views="w" * 64)
    assert writer.set_live(late, as_of=instant(8), views=ALL.digest)
    result = LiveMarker("b" * 12, instant(8), ALL.digest)
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


def test_each_set_of_views_has_a_marker_of_its_own(store: OnlineStoreFixture, writer: OnlineWriter):
    newest, warm = edition("b" * 12, published=9), edition("c" * 12, published=11)
    assert writer.set_live(newest, as_of=instant(8), views=ALL.digest)
    assert writer.set_live(warm, as_of=instant(8), views="k" * 64, newest=False)
    live, live_kept = LiveMarker("b" * 12, instant(8), ALL.digest), LiveMarker("c" * 12, instant(8), "k" * 64)
    assert (writer.get_live(), writer.get_live(ALL.digest), writer.get_live("k" * 64)) == (live, live, live_kept)
    assert writer.get_live("x" * 64) is None
    assert not writer.set_live(newest, as_of=instant(8), views="k" * 64, newest=False)

    async def look() -> object:
        readers = [store.reader(views) for views in (ALL, ALL.model_copy(update={"digest": "k" * 64}))]
        markers = [(await reader.get_with_marker([]))[0] for reader in readers]
        assert [await reader.get_live() for reader in readers] == [live, live]
        for reader in readers:
            await reader.close()
        return markers

    assert asyncio.run(look()) == [live, live_kept]


def test_two_concurrent_writers_leave_the_newest_rows(store: OnlineStoreFixture, writer: OnlineWriter):
    things, turns = 300, 8

    def write(turn: int) -> None:
        own_writer = store.writer("acme")
        result = [{"member_id": token(n), "denials": turn, "known_since": instant(turn)} for n in range(things)]
        own_writer.write_rows(MEMBERS, rows(MEMBERS, result), edition())
        own_writer.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [3, 7, 1, 6, 0, 5, 2, 4][:turns]))
    stored_rows = writer.read_rows(MEMBERS, [(token(n),) for n in range(things)])
    assert {row.values["denials"] for row in stored_rows if row is not None} == {turns - 1}


def test_an_empty_table_is_written(writer: OnlineWriter):
    assert writer.write_rows(MEMBERS, rows(MEMBERS, []), edition()) == (0, 0)


@pytest.mark.parametrize("key", ["123-45-6789", token(1) + "\n", None, ""])
def test_no_row_is_written_if_one_key_is_not_a_token(writer: OnlineWriter, key: str | None):
    with pytest.raises(Refused) as refused:
        writer.write_rows(MEMBERS, rows(MEMBERS, [{"member_id": token(1)}, {"member_id": key}]), edition())
    assert not key or key not in refused.value.what + refused.value.fix
    assert writer.read_row(MEMBERS, ANN) is None


def test_a_key_that_is_not_a_token_is_never_read(store: OnlineStoreFixture, writer: OnlineWriter):
    with pytest.raises(Refused):
        writer.read_row(MEMBERS, ("123-45-6789",))
    with pytest.raises(Refused):
        read_with_reader(store, [("member_history", ("123-45-6789",))])


def test_an_unknown_view_suggests_the_nearest(store: OnlineStoreFixture):
    with pytest.raises(NotFound) as error:
        read_with_reader(store, [("member_histori", ANN)])
    assert "member_history" in error.value.fix

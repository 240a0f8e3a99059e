"""Behavior of every kind of source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.sources import SERVERS, SourceServer
from wellspring.data.sources.port import FileSource
from wellspring.data.sources.registry import list_source_kinds
from wellspring.errors import NotFound, Refused

BIG = os.urandom(1 << 20) * 5 + b"tail"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


class Noon:
    def now(self) -> datetime:
        return NOON


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceServer]:
    with SERVERS[request.param](tmp_path) as running:
        yield running


def read_file(source: FileSource, name: str, *, size: int = 1 << 20) -> bytes:
    """Read a whole file."""
    with source.open(name) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def test_each_registered_kind_runs_this_suite() -> None:
    assert set(list_source_kinds()) == set(SERVERS)


def test_lists_files_oldest_first(server: SourceServer) -> None:
    for age, name in ((30, "b.csv"), (20, "a.csv"), (20, "A.csv")):
        server.put(name, b"x\n" + b"1\n" * age, modified=OLD - timedelta(seconds=age))
    files = server.source().list()
    assert [(file.name, file.size) for file in files] == [("b.csv", 62), ("A.csv", 42), ("a.csv", 42)]
    assert files[0].modified == OLD - timedelta(seconds=30)


@pytest.mark.parametrize("name", [".a.csv", ".a.csv.part", "a.csv.part", "a.csv.PART", "a.tmp"])
def test_dotfiles_and_unfinished_names_are_skipped(server: SourceServer, name: str) -> None:
    server.put(name, b"x\n1\n")
    assert server.source().list() == ()
    with pytest.raises(NotFound):
        read_file(server.source(), name)
    assert server.reads == 0


@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "one byte", "5 MiB"])
@pytest.mark.parametrize("size", [1 << 20, 100_000])
def test_reads_the_bytes(server: SourceServer, content: bytes, size: int) -> None:
    server.put("a.csv", content, modified=OLD)
    source = server.source()
    assert read_file(source, "a.csv", size=size) == content
    with source.open("a.csv") as stream:
        assert stream.file == source.stat("a.csv") == source.list()[0]
        assert len(stream.read(size)) <= size


def test_the_end_is_repeated(server: SourceServer) -> None:
    server.put("a.csv", b"x")
    with server.source().open("a.csv") as stream:
        assert [stream.read(10), stream.read(10), stream.read(10)] == [b"x", b"", b""]


def test_a_stream_can_be_closed_before_its_end(server: SourceServer) -> None:
    server.put("a.csv", BIG)
    source = server.source()
    with source.open("a.csv") as stream:
        assert stream.read(10) == BIG[:10]
    assert read_file(source, "a.csv") == BIG


def test_an_error_of_the_reader_passes_through(server: SourceServer) -> None:
    server.put("a.csv", BIG)
    with pytest.raises(ZeroDivisionError), server.source().open("a.csv") as stream:
        assert len(stream.read(10)) / 0


@pytest.mark.parametrize("name", ["none.csv", "../known_hosts", "/etc/passwd", "a\0b", "", ".", ".."])
def test_a_missing_name_is_not_found(server: SourceServer, name: str) -> None:
    with pytest.raises(NotFound):
        read_file(server.source(), name)
    with pytest.raises(NotFound):
        server.source().stat(name)


def test_a_file_that_grows_while_it_is_read_is_refused(server: SourceServer) -> None:
    server.put("a.csv", BIG, modified=OLD)

    def grow(name: str, offset: int) -> None:
        server.on_read = None
        server.put(name, BIG + b"more")

    server.on_read = grow
    with pytest.raises(Refused, match="still being written") as refused:
        read_file(server.source(), "a.csv")
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["still_writing"]


def test_a_file_that_changes_while_it_is_read_is_refused(server: SourceServer) -> None:
    server.put("a.csv", BIG, modified=OLD)

    def overwrite(name: str, offset: int) -> None:
        if offset > 1 << 20:
            server.on_read = None
            server.put(name, b"other" + BIG[5:])

    server.on_read = overwrite
    with pytest.raises(Refused, match="still being written"):
        read_file(server.source(), "a.csv")


def test_a_file_that_is_replaced_while_it_is_read_is_refused(server: SourceServer) -> None:
    server.put("a.csv", BIG, modified=OLD)

    def replace(name: str, offset: int) -> None:
        server.on_read = None
        server.remove(name)
        server.put(name, BIG[::-1], modified=OLD + timedelta(seconds=1))

    server.on_read = replace
    with pytest.raises(Refused, match="still being written"):
        read_file(server.source(), "a.csv")


def test_a_file_that_is_deleted_while_it_is_read_is_not_found(server: SourceServer) -> None:
    server.put("a.csv", BIG)
    server.on_read = lambda name, offset: server.remove(name)
    with pytest.raises(NotFound):
        read_file(server.source(), "a.csv")


@pytest.mark.parametrize(("age", "settling"), [(0, True), (4, True), (5, False), (3600, False)])
def test_a_recently_modified_file_is_still_writing(server: SourceServer, age: int, settling: bool) -> None:
    server.put("a.csv", b"x\n1\n", modified=NOON - timedelta(seconds=age))
    source = server.source(settle_seconds=5, clock=Noon())
    assert [file.still_writing for file in source.list()] == [settling]
    if settling:
        with pytest.raises(Refused, match="still being written"):
            read_file(source, "a.csv")
        assert server.reads == 0


def test_a_file_that_is_dated_ahead_says_so_and_ages_no_other_file(server: SourceServer) -> None:
    server.put("new.csv", b"x\n1\n", modified=NOON - timedelta(seconds=1))
    server.put("ahead.csv", b"x\n1\n", modified=NOON + timedelta(days=400))
    source = server.source(settle_seconds=5, clock=Noon())
    files = {file.name: (file.still_writing, file.seconds_ahead) for file in source.list()}
    assert files == {"new.csv": (True, 0), "ahead.csv": (False, 400 * 86_400)}
    assert source.stat("ahead.csv").seconds_ahead == 400 * 86_400
    assert read_file(source, "ahead.csv") == b"x\n1\n"


@pytest.mark.parametrize("name", ["..a.csv", "a\\b.csv", ".a\\b.csv", "a\\b.part"])
def test_a_name_that_a_path_would_resolve_does_not_vanish(server: SourceServer, name: str) -> None:
    server.put(name, b"x\n1\n")
    assert [file.name for file in server.source().list()] == [name]


def test_a_file_above_the_limit_is_refused_before_it_is_read(server: SourceServer) -> None:
    server.put("a.csv", b"x" * 1001)
    server.put("b.csv", b"x" * 1000)
    source = server.source(max_bytes=1000)
    assert {file.name: file.size for file in source.list()} == {"a.csv": 1001, "b.csv": 1000}
    with pytest.raises(Refused, match="1,001 bytes, more than the limit of 1,000") as refused:
        read_file(source, "a.csv")
    assert refused.value.verdict is not None
    assert refused.value.verdict.outcome == "inconclusive"
    assert [reason.code for reason in refused.value.verdict.reasons] == ["too_large"]
    assert server.reads == 0
    assert read_file(source, "b.csv") == b"x" * 1000

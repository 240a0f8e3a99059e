"""Behavior of every source of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.sftp_vendor import Vendor
from wellspring.errors import NotFound, Refused

BIG = os.urandom(1 << 20) * 5 + b"tail"


@pytest.fixture(params=["sftp"])
def vendor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vendor]:
    assert request.param == "sftp"
    with Vendor(tmp_path / "vendor").open() as opened_files:
        yield opened_files


def test_lists_files_oldest_first(vendor: Vendor) -> None:
    for age, name in ((30, "b.csv"), (20, "a.csv"), (20, "A.csv")):
        path = vendor.put(name, b"x\n" + b"1\n" * age)
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    files = vendor.source().list()
    assert [(file.name, file.size) for file in files] == [("b.csv", 62), ("A.csv", 42), ("a.csv", 42)]
    assert files[0].modified == datetime.fromtimestamp(1_700_000_000 - 30, UTC)


@pytest.mark.parametrize("name", [".a.csv", ".a.csv.part", "a.csv.part", "a.csv.PART", "a.tmp"])
def test_dotfiles_and_unfinished_names_are_skipped(vendor: Vendor, name: str) -> None:
    vendor.put(name, b"x\n1\n")
    assert vendor.source().list() == ()
    with pytest.raises(NotFound):
        vendor.source().fetch(name)
    assert vendor.reads == 0


def test_folders_and_links_are_skipped(vendor: Vendor, tmp_path: Path) -> None:
    (vendor.outbox / "folder").mkdir()
    (tmp_path / "secret.csv").write_text("x\n1\n")
    (vendor.outbox / "link.csv").symlink_to(tmp_path / "secret.csv")
    assert vendor.source().list() == ()
    for name in ("folder", "link.csv"):
        with pytest.raises(NotFound):
            vendor.source().fetch(name)


@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "one byte", "5 MiB"])
def test_fetches_the_bytes_and_their_digest(vendor: Vendor, content: bytes) -> None:
    vendor.put("a.csv", content)
    observed: list[tuple[int, int]] = []
    fetched = vendor.source().fetch("a.csv", progress=lambda done, total: observed.append((done, total)))
    assert fetched.content == content
    assert fetched.digest == hashlib.sha256(content).hexdigest()
    assert fetched.modified == vendor.source().stat("a.csv").modified
    if content:
        assert observed[-1] == (len(content), len(content))
        assert observed == sorted(observed)


@pytest.mark.parametrize("name", ["none.csv", "../known_hosts", "/etc/passwd", "a\0b", "", ".", ".."])
def test_a_missing_name_is_not_found(vendor: Vendor, name: str) -> None:
    with pytest.raises(NotFound):
        vendor.source().fetch(name)
    with pytest.raises(NotFound):
        vendor.source().stat(name)


def test_a_file_that_grows_while_it_is_read_is_refused(vendor: Vendor) -> None:
    path = vendor.put("a.csv", BIG)

    def grow(name: str, offset: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    vendor.on_read = grow
    with pytest.raises(Refused, match="still being written") as refused:
        vendor.source().fetch("a.csv")
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["still_writing"]


def test_a_file_that_changes_in_place_while_it_is_read_is_refused(vendor: Vendor) -> None:
    path = vendor.put("a.csv", BIG)
    os.utime(path, (1_700_000_000, 1_700_000_000))

    def overwrite(name: str, offset: int) -> None:
        if offset > 1 << 20:
            with path.open("r+b") as file:
                file.write(b"other")

    vendor.on_read = overwrite
    with pytest.raises(Refused, match="still being written"):
        vendor.source().fetch("a.csv")


def test_a_file_that_is_replaced_while_it_is_read_is_refused(vendor: Vendor) -> None:
    path = vendor.put("a.csv", BIG)
    os.utime(path, (1_700_000_000, 1_700_000_000))

    def replace(name: str, offset: int) -> None:
        beside = vendor.put(".other", BIG[::-1])
        os.utime(beside, (1_700_000_001, 1_700_000_001))
        beside.rename(path)
        vendor.on_read = None

    vendor.on_read = replace
    with pytest.raises(Refused, match="still being written"):
        vendor.source().fetch("a.csv")


def test_a_file_that_is_deleted_while_it_is_read_is_not_found(vendor: Vendor) -> None:
    path = vendor.put("a.csv", BIG)

    def delete(name: str, offset: int) -> None:
        path.unlink(missing_ok=True)

    vendor.on_read = delete
    with pytest.raises(NotFound):
        vendor.source().fetch("a.csv")


class Noon:
    def now(self) -> datetime:
        return datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(("age", "settling"), [(0, True), (4, True), (5, False), (3600, False)])
def test_a_recently_modified_file_is_still_writing(vendor: Vendor, age: int, settling: bool) -> None:
    path = vendor.put("a.csv", b"x\n1\n")
    instant = (Noon().now() - timedelta(seconds=age)).timestamp()
    os.utime(path, (instant, instant))
    source = vendor.source(settle_seconds=5, clock=Noon())
    assert [file.still_writing for file in source.list()] == [settling]
    if settling:
        with pytest.raises(Refused, match="still being written"):
            source.fetch("a.csv")
        assert vendor.reads == 0


def test_a_vendor_clock_that_runs_ahead_does_not_block_files(vendor: Vendor) -> None:
    for age, name in ((60, "old.csv"), (0, "new.csv")):
        instant = (Noon().now() + timedelta(hours=1, seconds=-age)).timestamp()
        os.utime(vendor.put(name, b"x\n1\n"), (instant, instant))
    source = vendor.source(settle_seconds=5, clock=Noon())
    assert {file.name: file.still_writing for file in source.list()} == {"old.csv": False, "new.csv": True}

"""Behavior of every store of bytes: the suite of stores/objects/port.py."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore
from wellspring.stores.objects.port import ContentStore, NamedBlobStore


@pytest.fixture(params=[DiskBlobStore])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> NamedBlobStore:
    return request.param(tmp_path / "paths")


@pytest.fixture(params=[DiskContentStore])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    return request.param(tmp_path / "objects")


def test_write_once_accepts_the_same_bytes_again(paths: NamedBlobStore):
    for _ in range(2):
        paths.write_once("tile/0/000", b"leaf")
    assert paths.read("tile/0/000") == b"leaf"


def test_write_once_refuses_other_bytes(paths: NamedBlobStore):
    paths.write_once("origin", b"first")
    with pytest.raises(CorruptedError, match="origin already has other bytes"):
        paths.write_once("origin", b"second")
    assert paths.read("origin") == b"first"


def test_replace_creates_and_replaces(paths: NamedBlobStore):
    for content in (b"one", b"", b"three"):
        paths.replace("checkpoint", content)
        assert paths.read("checkpoint") == content


NAMES = ("b", "a/2", "a/10", "a/1/deep", "ab/1")


def test_names_are_listed_below_a_folder_and_not_beside_it(paths: NamedBlobStore):
    for name in NAMES:
        paths.write_once(name, b"x")
    assert set(paths.list("a")) == {"a/10", "a/2", "a/1/deep"}
    assert set(paths.list("")) == set(NAMES)
    assert list(paths.list("nothing")) == []


def test_names_are_listed_sorted(paths: NamedBlobStore):
    for name in NAMES:
        paths.write_once(name, b"x")
    assert list(paths.list("")) == sorted(NAMES)


def test_remove_deletes_one_name_and_is_idempotent(paths: NamedBlobStore):
    paths.replace("a", b"x")
    paths.replace("b", b"y")
    for _ in range(2):
        paths.remove("a")
    assert list(paths.list("")) == ["b"]


def test_an_unknown_name_is_not_found(paths: NamedBlobStore):
    with pytest.raises(NotFound, match="checkpoint"):
        paths.read("checkpoint")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a/./../x", "..", "."])
def test_a_name_cannot_leave_the_folder(paths: NamedBlobStore, name: str):
    for act in (
        lambda: paths.read(name),
        lambda: paths.write_once(name, b"x"),
        lambda: paths.replace(name, b"x"),
        lambda: paths.remove(name),
    ):
        with pytest.raises(NotFound):
            act()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.binary(max_size=5000))
def test_any_bytes_are_returned_by_their_hash(objects: ContentStore, content: bytes):
    digest = objects.put(content)
    assert digest == hashlib.sha256(content).hexdigest() == objects.put(content)
    assert objects.get(digest) == content


def test_an_unknown_object_is_not_found(objects: ContentStore):
    with pytest.raises(NotFound):
        objects.get("0" * 64)

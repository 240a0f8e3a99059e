"""What every place for bytes does: the behaviour suite of stores/objects/port.py."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wellspring.errors import Broken, NotFound
from wellspring.stores.objects.disk import DiskObjects, DiskPaths
from wellspring.stores.objects.port import Objects, Paths


@pytest.fixture(params=[DiskPaths])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> Paths:
    return request.param(tmp_path / "paths")


@pytest.fixture(params=[DiskObjects])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return request.param(tmp_path / "objects")


def test_what_was_written_once_is_read_and_may_be_written_again_the_same(paths: Paths):
    for _ in range(2):
        paths.write_once("tile/0/000", b"leaf")
    assert paths.read("tile/0/000") == b"leaf"


def test_what_was_written_once_never_changes(paths: Paths):
    paths.write_once("origin", b"first")
    with pytest.raises(Broken, match="origin already holds other bytes"):
        paths.write_once("origin", b"second")
    assert paths.read("origin") == b"first"


def test_a_swap_creates_and_replaces(paths: Paths):
    for content in (b"one", b"", b"three"):
        paths.swap("checkpoint", content)
        assert paths.read("checkpoint") == content


NAMES = ("b", "a/2", "a/10", "a/1/deep", "ab/1")


def test_names_are_listed_below_a_folder_and_not_beside_it(paths: Paths):
    for name in NAMES:
        paths.write_once(name, b"x")
    assert set(paths.list("a")) == {"a/10", "a/2", "a/1/deep"}
    assert set(paths.list("")) == set(NAMES)
    assert list(paths.list("nothing")) == []


def test_names_are_listed_sorted(paths: Paths):
    for name in NAMES:
        paths.write_once(name, b"x")
    assert list(paths.list("")) == sorted(NAMES)


def test_removing_takes_one_name_and_is_harmless_twice(paths: Paths):
    paths.swap("a", b"x")
    paths.swap("b", b"y")
    for _ in range(2):
        paths.remove("a")
    assert list(paths.list("")) == ["b"]


def test_an_unknown_name_is_told(paths: Paths):
    with pytest.raises(NotFound, match="checkpoint"):
        paths.read("checkpoint")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a/./../x", "..", "."])
def test_a_name_never_leads_outside(paths: Paths, name: str):
    for act in (
        lambda: paths.read(name),
        lambda: paths.write_once(name, b"x"),
        lambda: paths.swap(name, b"x"),
        lambda: paths.remove(name),
    ):
        with pytest.raises(NotFound):
            act()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.binary(max_size=5000))
def test_any_bytes_come_back_by_their_hash(objects: Objects, content: bytes):
    digest = objects.put(content)
    assert digest == hashlib.sha256(content).hexdigest() == objects.put(content)
    assert objects.get(digest) == content


def test_an_unknown_object_is_told(objects: Objects):
    with pytest.raises(NotFound):
        objects.get("0" * 64)

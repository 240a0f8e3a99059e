"""Rules that every kind of source shares: names and sizes."""

from __future__ import annotations

import pytest

from wellspring.data.sources.port import check_size, is_ignored, is_unsafe
from wellspring.errors import Refused


@pytest.mark.parametrize(
    "name", ["a\nb.csv", "a\0", "\x1b[2Ja.csv", "a\u202eb.csv", "../a", "a/../b", "./a", "a//b", "/a", "a/", "", "a\\b"]
)
def test_an_unsafe_name_is_recognized(name: str):
    assert is_unsafe(name)


@pytest.mark.parametrize("name", ["a.csv", "2026/11/a.csv", "Über 1.csv", "a..b", ".a"])
def test_a_usual_name_is_safe(name: str):
    assert not is_unsafe(name)


def test_dotfiles_and_unfinished_files_are_ignored():
    assert [name for name in (".a", "a.part", "a.TMP", "a.csv", "part") if is_ignored(name)] == [
        ".a",
        "a.part",
        "a.TMP",
    ]


def test_the_limit_itself_is_allowed():
    check_size("clearinghouse", "a.csv", 5 << 30, max_bytes=5 << 30)
    with pytest.raises(Refused, match=r"max_bytes of \[sources.clearinghouse\]"):
        check_size("clearinghouse", "a.csv", (5 << 30) + 1, max_bytes=5 << 30)

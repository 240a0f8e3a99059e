"""Two globs have a common file name exactly if a name matches both, apart from classes of characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.data.contracts.file_globs import have_common_name
from wellspring.data.sources.port import compile_glob


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ("a.csv", "a.csv", True), ("a.csv", "b.csv", False), ("a*.csv", "*b.csv", True), ("a?", "a", False),
        ("a?", "ab", True), ("a*b*c", "abc", True), ("a*b*c", "acb", False), ("*", "x", True), ("**", "x", True),
        ("in/a_*.csv", "a_1.csv", True), ("in/**/a_*.csv", "out/a_*", True), ("[ab]1", "b1", True),
        ("[ab]1", "b2", False), ("x*", "y*", False), ("*" * 30 + "a", "*" * 30 + "b", False),
    ],
)  # fmt: skip
def test_globs_with_and_without_a_common_name(first: str, second: str, common: bool):
    assert have_common_name(first, second) == have_common_name(second, first) == common


def test_long_globs_are_compared():
    assert have_common_name("a?" * 300 + "*", "?b" * 300 + "*c")
    assert not have_common_name("a?" * 300 + "b", "?b" * 300 + "c")


GLOBS = st.text(alphabet="ab*?", max_size=6)


@given(GLOBS, GLOBS, st.text(alphabet="ab", max_size=6))
def test_globs_that_match_one_name_have_a_common_name(first: str, second: str, name: str):
    if compile_glob(first).fullmatch(name) and compile_glob(second).fullmatch(name):
        assert have_common_name(first, second)

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from wellspring_verify.canonical import MAX_INTEGER, MalformedError, dumps_canonical, loads_canonical

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_it_writes_what_an_independent_implementation_writes(value: object):
    assert dumps_canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert loads_canonical(dumps_canonical(value)) == value


def test_keys_are_sorted_by_utf_16_code_units():
    # The example of RFC 8785, section 3.2.3: a surrogate pair sorts before U+FB33.
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(dumps_canonical(value))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [1.5, 1.0, float("nan"), 2**53, {1: 2}, {"a": b"x"}, "\ud800", {"\ud800": 1}, {1, 2}])
def test_it_refuses_what_has_no_one_spelling(value: object):
    with pytest.raises(MalformedError):
        dumps_canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b"1.0", b"1e3", b"-0", b"NaN", b"Infinity", b'"\\u0041"',
        b'"\\/"', b"", b"\xff", b"\xef\xbb\xbf1", b"1\n", b'"\\ud800"', b"[" * 100_000, b"9" * 5_000, b"9" * 20,
        b'{"a":',
    ],
)  # fmt: skip
def test_it_reads_only_the_one_spelling(data: bytes):
    with pytest.raises(MalformedError):
        loads_canonical(data)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_in_another_way(data: bytes):
    try:
        value = loads_canonical(data)
    except MalformedError:
        return
    assert dumps_canonical(value) == data

"""One line of JSON Lines: what is read exactly, and each fault."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.data.formats.jsonl import lines
from wellspring.data.formats.jsonl.lines import IntegerText, LineFault, NumberText, flatten_object, parse_line


def fault(line: bytes) -> str:
    with pytest.raises(LineFault) as raised:
        parse_line(line)
    return raised.value.code


def test_numbers_keep_their_digits():
    value = parse_line(b'{"a": 9007199254740993, "b": 1.10, "c": 1e400, "d": -0, "e": "5"}')
    assert value == {"a": "9007199254740993", "b": "1.10", "c": "1e400", "d": "-0", "e": "5"}
    assert [type(inner) for inner in value.values()] == [IntegerText, NumberText, NumberText, IntegerText, str]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a": 1', "not_json"),
        (b'{"a": 1}{"a": 2}', "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": "x\ty"}', "not_json"),
        (b'{"a": 01}', "not_json"),
        (b'[{"a": 1}]', "not_object"),
        (b"1", "not_object"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        (b'{"b": {"a": 1, "a": 2}}', "duplicate_key"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": [-Infinity]}', "not_finite"),
        (b'{"a": ' + b"9" * 400 + b"}", "number_too_long"),
        (b'{"a": 0.' + b"9" * 400 + b"}", "number_too_long"),
        (b'{"a": "\xe9"}', "not_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        (b'{"a": "\\ud800"}', "lone_surrogate"),
        (b'{"\\udfff": 1}', "lone_surrogate"),
        (b'{"a": "x\\u0000y"}', "nul_character"),
        (b'{"a": "\\\\\\u0000"}', "nul_character"),
        (b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}", "nested_too_deep"),
        (b'{"a": ' * 200 + b"1" + b"}" * 200, "nested_too_deep"),
        (b"[" * 1_000_000, "nested_too_deep"),
        (b'{"a": [' + b"[]," * lines.MAX_VALUES + b"[]]}", "too_many_values"),
        (b"{" + b",".join(b'"k%d":1' % number for number in range(lines.MAX_VALUES + 1)) + b"}", "too_many_values"),
    ],
)
def test_each_fault_of_a_line_has_its_code(line: bytes, code: str):
    assert fault(line) == code
    assert code in lines.LINE_FAULTS


def test_a_line_of_64_mib_is_not_parsed():
    assert fault(b'{"a": "' + b"x" * (64 << 20) + b'"}') == "line_too_long"


def test_commas_in_a_text_are_no_values():
    assert len(parse_line(b'{"a": "' + b"," * (lines.MAX_VALUES + 1) + b'"}')["a"]) == lines.MAX_VALUES + 1


def test_31_lists_in_an_object_and_brackets_in_texts_are_accepted():
    assert parse_line(b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}")
    assert parse_line(b'{"a": "' + b"[\\\\" * 5000 + b'"}')["a"].startswith("[\\[")


@pytest.mark.parametrize("text", ["\U0001f600", "\\u0000", "\\ud800", "é\u0001"])
def test_a_text_that_only_looks_like_a_fault_is_accepted(text: str):
    assert parse_line(json.dumps({"a": text}).encode()) == {"a": text}


def test_objects_are_flattened_where_their_path_is_asked_for():
    value = {"a": {"b": 1, "c": {"d": 2}}, "e": {}}
    assert dict(flatten_object(value, {"a"})) == {"a.b": 1, "a.c": {"d": 2}, "e": {}}
    assert dict(flatten_object(value, None)) == {"a.b": 1, "a.c.d": 2, "e": {}}


def test_two_entries_of_one_path_are_a_duplicate_key():
    with pytest.raises(LineFault, match="duplicate_key"):
        list(flatten_object({"a": {"b": 1}, "a.b": 2}, {"a"}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def parse_or_fault(line: bytes) -> tuple[str | None, dict[str, Any] | None]:
    """Parse a line; return the code of its fault, or its object."""
    try:
        return None, parse_line(line)
    except LineFault as raised:
        return raised.code, None


def as_texts(value: Any) -> Any:
    """Write each integer as its digits."""
    if isinstance(value, dict):
        return {key: as_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_texts(inner) for inner in value]
    return str(value) if type(value) is int else value


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), JSON_VALUES, max_size=4), st.booleans())
def test_what_the_standard_library_writes_is_read_back(value: dict[str, Any], ascii_only: bool):
    line = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    code, parsed = parse_or_fault(line)
    if code is None:
        assert parsed == as_texts(value)
    else:
        assert code in {"nul_character", "not_utf8", "lone_surrogate"}
        assert "\\x00" in repr(value) or "\\ud" in repr(value)


@given(st.binary(max_size=40) | st.text('{}[]",:\\u0d8e19aNI -.', max_size=40).map(str.encode))
def test_any_line_is_an_object_or_a_fault(line: bytes):
    code, parsed = parse_or_fault(line)
    assert code in lines.LINE_FAULTS if code is not None else isinstance(parsed, dict)


@pytest.mark.parametrize("unclosed", ['\\"', 'x\\"', "\\\\\\"])
def test_the_depth_of_a_line_is_measured_in_linear_time(unclosed: str):
    line = ('{"a": ' + "[" * 40 + '"' + unclosed * ((1 << 20) // len(unclosed))).encode()
    start = time.process_time()
    assert fault(line) == "nested_too_deep"
    # A search that begins again at each quote takes minutes.
    assert time.process_time() - start < 1


def test_brackets_in_a_string_that_is_not_closed_are_text():
    assert fault(b'{"a": "' + b"[" * 100) == "not_json"

"""Parse one line of a JSON Lines file. Numbers keep their digits; what readers interpret differently is a fault."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

MAX_LINE_BYTES = 16 << 20
MAX_DEPTH = 32
"""Maximum number of nested objects and lists of a line, with the line's own object."""
MAX_VALUES = 100_000
"""Maximum number of values of a line, those of lists and of inner objects included."""
MAX_DIGITS = 64
"""Maximum number of characters of a number."""
LINE_FAULTS = {
    "line_too_long": f"the line is longer than {MAX_LINE_BYTES >> 20} MiB",
    "not_utf8": "the line is not UTF-8",
    "not_json": "the line is not one JSON value",
    "not_object": "the line is not a JSON object",
    "nested_too_deep": f"the line has more than {MAX_DEPTH} nested objects or lists",
    "too_many_values": f"the line has more than {MAX_VALUES} values",
    "duplicate_key": "the line has a key twice in one object",
    "not_finite": "the line has NaN or Infinity, which JSON does not define",
    "number_too_long": f"the line has a number of more than {MAX_DIGITS} characters",
    "lone_surrogate": "the line has half of a surrogate pair, which is not a character",
    "nul_character": "the line has a NUL character",
}
"""The faults of a line, each with its message."""
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?')
"""Also a string that is not closed: otherwise the search would begin again at each quote."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class LineFault(Exception):
    """A line that cannot be a row. code: a key of LINE_FAULTS."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class IntegerText(str):
    """The digits of a JSON number without fraction and exponent."""

    __slots__ = ()


class NumberText(str):
    """The text of a JSON number with a fraction or an exponent."""

    __slots__ = ()


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse one line as an object. Numbers are IntegerText or NumberText. Raises LineFault."""
    if len(line) > MAX_LINE_BYTES:
        raise LineFault("line_too_long")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise LineFault("not_utf8") from None
    # Before parsing, because the parser recurses.
    if text.count("{") + text.count("[") > MAX_DEPTH and _measure_depth(text) > MAX_DEPTH:
        raise LineFault("nested_too_deep")
    if text.count(",") >= MAX_VALUES and _STRING.sub("", text).count(",") >= MAX_VALUES:
        raise LineFault("too_many_values")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        raise LineFault("not_json") from None
    if not isinstance(value, dict):
        raise LineFault("not_object")
    if "\\u" in text:
        _check_escapes(text, value)
    return value


def flatten_object(value: dict[str, Any], nested: Collection[str] | None) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each entry of an object, by path; paths are joined with dots.

    nested: the paths of the objects to flatten; None flattens all. Raises LineFault if two entries have one path.
    """
    paths: set[str] = set()
    for path, inner in _walk_entries(value, nested, ""):
        if path in paths:
            raise LineFault("duplicate_key")
        paths.add(path)
        yield path, inner


def _walk_entries(value: dict[str, Any], nested: Collection[str] | None, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        path = prefix + key
        if isinstance(inner, dict) and (path in nested if nested is not None else inner):
            yield from _walk_entries(inner, nested, f"{path}.")
        else:
            yield path, inner


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise LineFault("duplicate_key")
    return value


def _keep_integer(digits: str) -> IntegerText:
    if len(digits) > MAX_DIGITS:
        raise LineFault("number_too_long")
    return IntegerText(digits)


def _keep_number(text: str) -> NumberText:
    if len(text) > MAX_DIGITS:
        raise LineFault("number_too_long")
    return NumberText(text)


def _refuse_constant(_name: str) -> NoReturn:
    raise LineFault("not_finite")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_int=_keep_integer,
    parse_float=_keep_number,
    parse_constant=_refuse_constant,
)


def _measure_depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check_escapes(text: str, value: dict[str, Any]) -> None:
    # The parser joins the halves of a pair; a half alone cannot be encoded.
    content = json.dumps(value, ensure_ascii=False)
    if _SURROGATE.search(text):
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            raise LineFault("lone_surrogate") from None
    # Written back, a NUL is an escape again, after an even number of backslashes.
    if re.search(r"(?<!\\)(?:\\\\)*\\u0000", content):
        raise LineFault("nul_character")

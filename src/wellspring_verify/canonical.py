"""Canonical JSON (RFC 8785): one value, one byte string. Floats are refused, so that nothing depends on rounding."""

from __future__ import annotations

import json
from typing import cast

Value = None | bool | int | str | list["Value"] | dict[str, "Value"]

LARGEST = 2**53 - 1
"""RFC 8785 numbers are doubles: a larger integer would not survive another reader. Write it as text."""
DEEPEST = 64

_escape = json.JSONEncoder(ensure_ascii=False).encode


class Malformed(ValueError):
    """Bytes that are not exactly what the format demands, or a value that the format cannot hold."""


def dumps(value: object) -> bytes:
    """Write a value as canonical JSON in UTF-8.

    Raises Malformed for a float, an integer beyond 2^53 - 1, a lone surrogate, a key that is not text, or a type
    that JSON does not have.
    """
    try:
        return _text(value, 0).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("a lone surrogate is no text") from None


def loads_strict(data: bytes) -> Value:
    """Read canonical JSON. Raises Malformed unless writing the value again gives the very same bytes."""
    try:
        value = cast(Value, json.loads(data.decode("utf-8"), parse_float=_refuse_number, parse_constant=_refuse_number))
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except Malformed:
        raise
    except ValueError:
        raise Malformed("it is not JSON") from None
    if dumps(value) != data:
        raise Malformed("it is JSON, but not in the canonical form")
    return value


def _text(value: object, depth: int) -> str:
    if depth > DEEPEST:
        raise Malformed("it is nested too deeply")
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _escape(value)
    if isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            raise Malformed("an integer beyond 2^53 - 1 must be written as text")
        return str(int(value))
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return "[" + ",".join(_text(item, depth + 1) for item in items) + "]"
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return "{" + ",".join(f"{_escape(key)}:{_text(members[key], depth + 1)}" for key in _sorted(members)) + "}"
    raise Malformed(f"canonical JSON here holds no {type(value).__name__}")


def _sorted(members: dict[object, object]) -> list[str]:
    keys = [key for key in members if isinstance(key, str)]
    if len(keys) != len(members):
        raise Malformed("the keys of an object are text")
    # RFC 8785 sorts by UTF-16 code units: beyond U+FFFF that is another order than Python's.
    return sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _refuse_number(text: str) -> Value:
    raise Malformed(f"it holds a number that is no integer ({text[:20]})")

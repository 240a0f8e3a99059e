"""Read and write canonical JSON (RFC 8785). Each value has one byte string; floats are rejected (no rounding)."""

from __future__ import annotations

import json
from typing import cast

CanonicalValue = None | bool | int | str | list["CanonicalValue"] | dict[str, "CanonicalValue"]

MAX_INTEGER = 2**53 - 1
"""RFC 8785 numbers are doubles: other readers would round a larger integer. Write it as text."""
MAX_DEPTH = 64

_escape_string = json.JSONEncoder(ensure_ascii=False).encode


class MalformedError(ValueError):
    """Bytes that do not follow a format exactly, or a value that a format cannot represent."""


def dumps_canonical(value: object) -> bytes:
    """Write a value as canonical JSON in UTF-8.

    Raises MalformedError for a float, an integer beyond 2^53 - 1, a lone surrogate, a key that is not text, or a type
    that JSON does not have.
    """
    try:
        return _encode_value(value, 0).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("a lone surrogate is not valid text") from None


def loads_canonical(data: bytes) -> CanonicalValue:
    """Read canonical JSON. Raises MalformedError unless writing the value again gives the same bytes."""
    try:
        value = cast(
            CanonicalValue, json.loads(data.decode("utf-8"), parse_float=_refuse_number, parse_constant=_refuse_number)
        )
    except UnicodeDecodeError:
        raise MalformedError("it is not UTF-8") from None
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    except MalformedError:
        raise
    except ValueError:
        raise MalformedError("it is not JSON") from None
    if dumps_canonical(value) != data:
        raise MalformedError("it is JSON, but not in the canonical form")
    return value


def _encode_value(value: object, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise MalformedError("it is nested too deeply")
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _escape_string(value)
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise MalformedError("an integer beyond 2^53 - 1 must be written as text")
        return str(int(value))
    if isinstance(value, (list, tuple)):
        elements = cast("list[object]", value)
        return "[" + ",".join(_encode_value(element, depth + 1) for element in elements) + "]"
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return (
            "{"
            + ",".join(f"{_escape_string(key)}:{_encode_value(members[key], depth + 1)}" for key in _sort_keys(members))
            + "}"
        )
    raise MalformedError(f"canonical JSON cannot contain a {type(value).__name__}")


def _sort_keys(members: dict[object, object]) -> list[str]:
    keys = [key for key in members if isinstance(key, str)]
    if len(keys) != len(members):
        raise MalformedError("the keys of an object must be text")
    # RFC 8785 sorts by UTF-16 code units: beyond U+FFFF this order differs from Python's.
    return sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _refuse_number(text: str) -> CanonicalValue:
    raise MalformedError(f"it contains a number that is not an integer ({text[:20]})")

"""The promise under an answer: what exactly an API process signs, and how anybody checks it.

The signed text of an answer is canonical JSON (see `canonical`) of the answer without its member `promise`. A number
under a name of FLOATS, at any depth, is written as text by Python's float.hex (0.75 is "0x1.8000000000000p-1"), however
it was spelled: 1, 1.0 and 1e0 are one number, and minus zero is zero. A number with a fraction anywhere else, a float
that is no number, and a text under a name of FLOATS are refused: one answer has one text, and one text one answer.

The promise is `{"key": ..., "signature": ...}`: 16 hex of the SHA-256 of the key's public half (32 bytes of Ed25519),
and the signature over the text in canonical base64.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import NamedTuple, NoReturn, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wellspring_verify.canonical import DEEPEST, Malformed, dumps
from wellspring_verify.notes import unbase64

FLOATS = frozenset({"score", "push"})
"""The names whose numbers are floats: an answer's score, and how far each reason pushed it."""
PROMISE = "promise"
_LARGEST = 2**20


class Promise(NamedTuple):
    """What stands under `promise`. key: 16 hex; signature: 64 bytes."""

    key: str
    signature: bytes


def text(answer: Mapping[str, object]) -> bytes:
    """Return the bytes that a promise signs. Raises Malformed for what has no one text."""
    return dumps({name: _exact(name, value, 1) for name, value in answer.items() if name != PROMISE})


def exact(number: float) -> str:
    """Write a number as the text that stands for it: float.hex. Raises Malformed for NaN and what is endless."""
    try:
        value = float(number) + 0.0  # Minus zero becomes zero: some writers of JSON do not know it.
    except OverflowError:
        raise Malformed("it holds a number beyond any float") from None
    if not math.isfinite(value):
        raise Malformed("it holds a number that is none")
    return value.hex()


def digest(answer: Mapping[str, object]) -> str:
    """Return what the ledger holds of an answer: the SHA-256 of its text, in hex."""
    return hashlib.sha256(text(answer)).hexdigest()


def key_id(public: bytes) -> str:
    """Name an API process's key: the first 16 hex of the SHA-256 of its public half."""
    return hashlib.sha256(public).hexdigest()[:16]


def read(content: bytes) -> dict[str, object]:
    """Read an answer as it came over HTTP; spaces and the order of names do not matter.

    Raises Malformed for what is no JSON object, for a name that stands twice, and for NaN.
    """
    if len(content) > _LARGEST:
        raise Malformed("it is too large for an answer")
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it is no JSON object")
    return cast("dict[str, object]", value)


def promised(answer: Mapping[str, object]) -> Promise:
    """Return the promise of an answer, not checked yet. Raises Malformed."""
    value = answer.get(PROMISE)
    if not isinstance(value, Mapping):
        raise Malformed("it bears no promise")
    made = cast("Mapping[str, object]", value)
    key, signature = made.get("key"), made.get("signature")
    if set(made) != {"key", "signature"} or not isinstance(key, str) or not isinstance(signature, str):
        raise Malformed("its promise is not a key and a signature")
    blob = unbase64(signature)
    if len(blob) != 64:
        raise Malformed("its promise's signature is not one of Ed25519")
    return Promise(key, blob)


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether this is the signature of the key with this public half (32 bytes) over a message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _exact(name: str, value: object, depth: int) -> object:
    if depth > DEEPEST:
        raise Malformed("it is nested too deeply")
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {each: _exact(each, one, depth + 1) for each, one in members.items()}
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return [_exact(name, one, depth + 1) for one in items]
    if name not in FLOATS:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed(f"its {name} is no number")
    return exact(value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a name stands in it twice")
    return value


def _no_number(name: str) -> NoReturn:
    raise Malformed(f"{name} is no number")

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

from wellspring_verify.canonical import MAX_DEPTH, MalformedError, dumps_canonical
from wellspring_verify.notes import decode_base64

FLOAT_FIELDS = frozenset({"score", "contribution"})
"""The names whose numbers are floats: an answer's score, and how far each reason pushed it."""
SIGNATURE_FIELD = "signature"
_MAX_ANSWER_BYTES = 2**20


class DetachedSignature(NamedTuple):
    """What stands under `promise`. key: 16 hex; signature: 64 bytes."""

    key_id: str
    signature: bytes


def signed_text(answer: Mapping[str, object]) -> bytes:
    """Return the bytes that a promise signs. Raises Malformed for what has no one text."""
    return dumps_canonical(
        {name: _encode_floats(name, value, 1) for name, value in answer.items() if name != SIGNATURE_FIELD}
    )


def float_hex(number: float) -> str:
    """Write a number as the text that stands for it: float.hex. Raises Malformed for NaN and what is endless."""
    try:
        value = float(number) + 0.0  # Minus zero becomes zero: some writers of JSON do not know it.
    except OverflowError:
        raise MalformedError("it holds a number beyond any float") from None
    if not math.isfinite(value):
        raise MalformedError("it holds a number that is none")
    return value.hex()


def answer_digest(answer: Mapping[str, object]) -> str:
    """Return what the ledger holds of an answer: the SHA-256 of its text, in hex."""
    return hashlib.sha256(signed_text(answer)).hexdigest()


def compute_key_id(public_key: bytes) -> str:
    """Name an API process's key: the first 16 hex of the SHA-256 of its public half."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def parse_answer(content: bytes) -> dict[str, object]:
    """Read an answer as it came over HTTP; spaces and the order of names do not matter.

    Raises Malformed for what is no JSON object, for a name that stands twice, and for NaN.
    """
    if len(content) > _MAX_ANSWER_BYTES:
        raise MalformedError("it is too large for an answer")
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_require_unique_names, parse_constant=_reject_constant
        )
    except MalformedError:
        raise
    except (ValueError, RecursionError):
        raise MalformedError("it is not JSON") from None
    if not isinstance(value, dict):
        raise MalformedError("it is no JSON object")
    return cast("dict[str, object]", value)


def read_signature(answer: Mapping[str, object]) -> DetachedSignature:
    """Return the promise of an answer, not checked yet. Raises Malformed."""
    value = answer.get(SIGNATURE_FIELD)
    if not isinstance(value, Mapping):
        raise MalformedError("it bears no promise")
    fields = cast("Mapping[str, object]", value)
    key_id, signature = fields.get("key_id"), fields.get("value")
    if set(fields) != {"key_id", "value"} or not isinstance(key_id, str) or not isinstance(signature, str):
        raise MalformedError("its promise is not a key and a signature")
    blob = decode_base64(signature)
    if len(blob) != 64:
        raise MalformedError("its promise's signature is not one of Ed25519")
    return DetachedSignature(key_id, blob)


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether this is the signature of the key with this public half (32 bytes) over a message."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _encode_floats(name: str, value: object, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise MalformedError("it is nested too deeply")
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {item: _encode_floats(item, one, depth + 1) for item, one in members.items()}
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return [_encode_floats(name, one, depth + 1) for one in items]
    if name not in FLOAT_FIELDS:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MalformedError(f"its {name} is no number")
    return float_hex(value)


def _require_unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedError("a name stands in it twice")
    return value


def _reject_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is no number")

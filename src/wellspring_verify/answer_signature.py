"""Build the text that an API process signs for a prediction, and verify the signature.

The signed text is the canonical JSON (see `canonical`) of the prediction without its member `signature`. A number in a
field of FLOAT_FIELDS, at any depth, is written as text by Python's float.hex (0.75 is "0x1.8000000000000p-1"); its
spelling does not matter: 1, 1.0 and 1e0 give the same text, and minus zero is written as zero. A fractional number in
any other field, NaN, an infinity, and text in a field of FLOAT_FIELDS are rejected. So each prediction has one text,
and each text belongs to one prediction.

The signature is `{"key_id": ..., "value": ...}`: 16 hex digits of the SHA-256 of the public key (32 bytes, Ed25519),
and the signature of the text in canonical base64.
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

FLOAT_FIELDS = frozenset({"score", "contribution", "interval", "probability"})
"""The fields whose numbers are floats: score and interval of a prediction, the probability of each class, and the
contribution of each reason."""
SIGNATURE_FIELD = "signature"
_MAX_ANSWER_BYTES = 2**20


class DetachedSignature(NamedTuple):
    """The member `signature` of a prediction. key_id: 16 hex digits; signature: 64 bytes."""

    key_id: str
    signature: bytes


def signed_text(answer: Mapping[str, object]) -> bytes:
    """Return the bytes that are signed. Raises MalformedError for a prediction that has no unique text."""
    return dumps_canonical(
        {name: _encode_floats(name, value, 1) for name, value in answer.items() if name != SIGNATURE_FIELD}
    )


def float_hex(number: float) -> str:
    """Write a number as text with float.hex. Raises MalformedError for NaN and infinities."""
    try:
        value = float(number) + 0.0  # Minus zero becomes zero: some JSON writers cannot write it.
    except OverflowError:
        raise MalformedError("it contains a number that is too large for a float") from None
    if not math.isfinite(value):
        raise MalformedError("it contains a number that is not finite")
    return value.hex()


def answer_digest(answer: Mapping[str, object]) -> str:
    """Return the digest that the ledger records for a prediction: the SHA-256 of its signed text, in hex."""
    return hashlib.sha256(signed_text(answer)).hexdigest()


def compute_key_id(public_key: bytes) -> str:
    """Compute a key id: the first 16 hex digits of the SHA-256 of the public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def parse_answer(content: bytes) -> dict[str, object]:
    """Read a prediction as the API returned it; whitespace and the order of members do not matter.

    Raises MalformedError for anything but a JSON object, for a duplicate name, and for NaN.
    """
    if len(content) > _MAX_ANSWER_BYTES:
        raise MalformedError("it is too large for a prediction")
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_require_unique_names, parse_constant=_reject_constant
        )
    except MalformedError:
        raise
    except (ValueError, RecursionError):
        raise MalformedError("it is not JSON") from None
    if not isinstance(value, dict):
        raise MalformedError("it is not a JSON object")
    return cast("dict[str, object]", value)


def read_signature(answer: Mapping[str, object]) -> DetachedSignature:
    """Return the signature of a prediction without verifying it. Raises MalformedError."""
    value = answer.get(SIGNATURE_FIELD)
    if not isinstance(value, Mapping):
        raise MalformedError("it has no signature")
    fields = cast("Mapping[str, object]", value)
    key_id, signature = fields.get("key_id"), fields.get("value")
    if set(fields) != {"key_id", "value"} or not isinstance(key_id, str) or not isinstance(signature, str):
        raise MalformedError("its signature is not an object of key_id and value")
    blob = decode_base64(signature)
    if len(blob) != 64:
        raise MalformedError("its signature is not an Ed25519 signature")
    return DetachedSignature(key_id, blob)


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether the Ed25519 signature of the message by this public key (32 bytes) is valid."""
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
        return {member: _encode_floats(member, content, depth + 1) for member, content in members.items()}
    if isinstance(value, (list, tuple)):
        elements = cast("list[object]", value)
        return [_encode_floats(name, element, depth + 1) for element in elements]
    if name not in FLOAT_FIELDS:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MalformedError(f"its {name} is not a number")
    return float_hex(value)


def _require_unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedError("it contains a name twice")
    return value


def _reject_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is not a number")

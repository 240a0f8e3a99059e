"""A release needs two people: what exactly each of them signs, and how anybody checks it."""

from __future__ import annotations

from wellspring_verify import answer_signature, notes
from wellspring_verify.canonical import MalformedError


def approval_text(model: str, release: str, digest: str) -> bytes:
    """Return the release note that an approver signs with a key of their own (Ed25519).

    release: its id; digest: 64 hex, of the release's canonical JSON. Raises Malformed for a part that would not stand
    on one line of its own.
    """
    return _note_text("release", model, release, digest)


def proposal_text(model: str, release: str, digest: str) -> bytes:
    """Return what a proposer signs: the same four lines under another name, so that neither stands for the other."""
    return _note_text("proposal", model, release, digest)


def verify_note_signature(public_key: str, signature: str, message: bytes) -> bool:
    """Say whether `signature` is that of `public` over the note; both in canonical base64. Raises Malformed."""
    key, blob = notes.decode_base64(public_key), notes.decode_base64(signature)
    if len(key) != 32 or len(blob) != 64:
        raise MalformedError("it is no key or no signature of Ed25519")
    return answer_signature.verify_signature(key, blob, message)


def _note_text(kind: str, *lines: str) -> bytes:
    for line in lines:
        if not line or not line.isascii() or not line.isprintable() or " " in line:
            raise MalformedError("a release note's lines are model, release and digest, without spaces")
    return "".join(f"{line}\n" for line in (f"wellspring {kind} v1", *lines)).encode()

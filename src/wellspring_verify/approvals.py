"""A release needs two people: what exactly each of them signs, and how anybody checks it."""

from __future__ import annotations

from wellspring_verify import notes, promise
from wellspring_verify.canonical import Malformed


def text(model: str, release: str, digest: str) -> bytes:
    """Return the release note that an approver signs with a key of their own (Ed25519).

    release: its id; digest: 64 hex, of the release's canonical JSON. Raises Malformed for a part that would not stand
    on one line of its own.
    """
    return _note("release", model, release, digest)


def proposal(model: str, release: str, digest: str) -> bytes:
    """Return what a proposer signs: the same four lines under another name, so that neither stands for the other."""
    return _note("proposal", model, release, digest)


def holds(public: str, signature: str, message: bytes) -> bool:
    """Say whether `signature` is that of `public` over the note; both in canonical base64. Raises Malformed."""
    key, blob = notes.unbase64(public), notes.unbase64(signature)
    if len(key) != 32 or len(blob) != 64:
        raise Malformed("it is no key or no signature of Ed25519")
    return promise.holds(key, blob, message)


def _note(kind: str, *lines: str) -> bytes:
    for line in lines:
        if not line or not line.isascii() or not line.isprintable() or " " in line:
            raise Malformed("a release note's lines are model, release and digest, without spaces")
    return "".join(f"{line}\n" for line in (f"wellspring {kind} v1", *lines)).encode()

"""Build the notes that the proposer and the approver of a release sign, and verify their signatures."""

from __future__ import annotations

from wellspring_verify import answer_signature, notes
from wellspring_verify.canonical import MalformedError


def approval_text(model: str, release: str, digest: str) -> bytes:
    """Return the release note that an approver signs with their own key (Ed25519).

    release: its id; digest: 64 hex digits, of the release's canonical JSON. Raises MalformedError for an argument that
    is empty or contains a space, a control character or a non-ASCII character.
    """
    return _note_text("release", model, release, digest)


def proposal_text(model: str, release: str, digest: str) -> bytes:
    """Return the note that a proposer signs.

    Its first line differs from that of `approval_text`, so that neither signature is valid for the other note.
    """
    return _note_text("proposal", model, release, digest)


def verify_note_signature(public_key: str, signature: str, message: bytes) -> bool:
    """Return whether the signature of a note is valid; key and signature in canonical base64. Raises MalformedError."""
    key, blob = notes.decode_base64(public_key), notes.decode_base64(signature)
    if len(key) != 32 or len(blob) != 64:
        raise MalformedError("it is not an Ed25519 key or signature")
    return answer_signature.verify_signature(key, blob, message)


def _note_text(kind: str, *lines: str) -> bytes:
    for line in lines:
        if not line or not line.isascii() or not line.isprintable() or " " in line:
            raise MalformedError("the lines of a release note are model, release and digest, without spaces")
    return "".join(f"{line}\n" for line in (f"wellspring {kind} v1", *lines)).encode()

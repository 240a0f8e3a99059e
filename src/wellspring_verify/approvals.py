"""Build the notes that users sign for their acts, and verify their signatures."""

from __future__ import annotations

from wellspring_verify import answer_signature, notes
from wellspring_verify.canonical import MalformedError


def approval_text(model: str, release: str, digest: str) -> bytes:
    """Return the release note that an approver signs with their own key (Ed25519).

    release: its id; digest: 64 hex digits, of the release's canonical JSON. Raises MalformedError for an argument that
    is empty or contains a space, a control character or a non-ASCII character.
    """
    return note_text("release", model, release, digest)


def proposal_text(model: str, release: str, digest: str) -> bytes:
    """Return the note that a proposer signs.

    Its first line differs from that of `approval_text`, so that neither signature is valid for the other note.
    """
    return note_text("proposal", model, release, digest)


def rollback_text(model: str, replaced_release: str, signed_at: str, target: str = "") -> bytes:
    """Return the note that a user signs to roll a model back.

    replaced_release: the id of the release that is live at that moment, so that the note rolls back this release and no
    later one. target: the id of the release to restore, or '' for the one before. signed_at: an instant in UTC, ISO
    8601. Raises MalformedError as `approval_text` does.
    """
    return note_text("rollback", model, rollback_line(replaced_release, target), signed_at)


def rollback_line(replaced_release: str, target: str = "") -> str:
    """Return the line of a rollback note that names its releases."""
    return f"{replaced_release}:{target}" if target else replaced_release


def deployment_text(model: str, line: str, signed_at: str) -> bytes:
    """Return the note that a user signs to deploy a challenger. line: of `deployment_line`."""
    return note_text("deployment", model, line, signed_at)


def undeployment_text(model: str, line: str, signed_at: str) -> bytes:
    """Return the note that a user signs to end the role of a challenger. line: of `undeployment_line`."""
    return note_text("undeployment", model, line, signed_at)


def deployment_line(stable: str, challenger: str, mode: str, share: str, seed: str) -> str:
    """Return the line of a deployment note: the two releases, and how the requests are divided between them."""
    return f"{stable}:{challenger}:{mode}:{share}:{seed}"


def undeployment_line(stable: str, challenger: str) -> str:
    """Return the line of an undeployment note: the release that stays, and the one whose role ends."""
    return f"{stable}:{challenger}"


def verify_note_signature(public_key: str, signature: str, message: bytes) -> bool:
    """Return whether the signature of a note is valid; key and signature in canonical base64. Raises MalformedError."""
    key, blob = notes.decode_base64(public_key), notes.decode_base64(signature)
    if len(key) != 32 or len(blob) != 64:
        raise MalformedError("it is not an Ed25519 key or signature")
    return answer_signature.verify_signature(key, blob, message)


def note_text(kind: str, *lines: str) -> bytes:
    """Return the text of a note: "wellspring KIND v1" and the lines, each with a newline. Raises MalformedError."""
    for line in lines:
        if not line or not line.isascii() or not line.isprintable() or " " in line:
            raise MalformedError("each line of a note is printable ASCII without spaces")
    return "".join(f"{line}\n" for line in (f"wellspring {kind} v1", *lines)).encode()

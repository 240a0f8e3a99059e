"""Sign the note of an act at its submission, and authenticate its author when a job executes the act.

A user logs in, signs the note inside OpenBao, and the login's token is revoked at once. The job carries the note; no
secret enters it. Whoever executes the job checks the signature with the key that the ledger's enrollment pins, so the
author of the act is known without trusting the submitter.
"""

from __future__ import annotations

import base64
import hashlib

from pydantic import JsonValue, ValidationError

from wellspring.errors import CorruptedError, Refused
from wellspring.project import PROJECT_FILE, Project
from wellspring.records.trust import Entry
from wellspring.records.user_notes import NoteKind, UserNote
from wellspring.trust.approvals import LedgerEntries, UserSigner, find_enrolled_key
from wellspring.trust.identity.port import Principal
from wellspring.trust.identity.users import USER_NAME_PATTERN, public_key_id
from wellspring_verify import approvals as notes
from wellspring_verify.canonical import MalformedError

NOTE_LINES = 3
"""The number of lines of each kind of note, after the one that names its kind."""
_SIGN_AGAIN = "run the command again, and sign what it is now"


class NoteAuthor:
    """The authenticated author of a note; a `UserSigner` that can sign the text of this note and no other.

    public_key: 32 bytes, Ed25519.
    """

    def __init__(self, principal: Principal, note: UserNote) -> None:
        self.principal = principal
        self.note = note
        self.public_key = base64.b64decode(note.public_key)

    @property
    def key_id(self) -> str:
        """The id of the user's key."""
        return public_key_id(self.public_key)

    @property
    def facts(self) -> dict[str, JsonValue]:
        """What the entry of the act records: user, key, signature and digest of the note."""
        return describe_note(self.note)

    def require_lines(self, *lines: str) -> None:
        """Raise Refused unless the author signed these lines: what they describe may have changed since."""
        if lines != self.note.lines:
            raise self._other_text_error()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the note. Raises Refused if the message is not the text that the author signed."""
        if message != encode_note(self.note):
            raise self._other_text_error()
        return base64.b64decode(self.note.signature)

    def _other_text_error(self) -> Refused:
        return Refused(
            f"{self.principal.name} signed another {self.note.kind} than the one that would be executed now",
            fix=_SIGN_AGAIN,
        )


def sign_note(user: UserSigner, kind: NoteKind, *lines: str) -> UserNote:
    """Sign the note of an act as a logged-in user. Raises Unavailable when OpenBao does not respond."""
    return UserNote(
        kind=kind,
        lines=lines,
        user=user.principal.name.removeprefix("user:"),
        public_key=base64.b64encode(user.public_key).decode(),
        signature=base64.b64encode(user.sign(notes.note_text(kind, *lines))).decode(),
    )


def parse_note(value: object, kind: NoteKind) -> UserNote:
    """Read the note that a job carries. Raises Refused for another form or another kind of note."""
    try:
        note = UserNote.model_validate(value, strict=False)
    except ValidationError:
        raise Refused("the job carries no signed note", fix="submit it with the command of that act") from None
    if note.kind != kind or len(note.lines) != NOTE_LINES or not USER_NAME_PATTERN.fullmatch(note.user):
        raise Refused(f"the job carries no signed {kind}", fix="submit it with the command of that act")
    return note


def authenticate_note(note: UserNote, project: Project, ledger: LedgerEntries) -> NoteAuthor:
    """Return the author of a note, whose enrolled key must have signed it.

    Raises Refused for a user who is not in wellspring.toml or not enrolled, and for an invalid signature;
    CorruptedError if the user was enrolled with another key.
    """
    if note.user not in project.users:
        raise Refused(
            f"{project.root / PROJECT_FILE} has no [users.{note.user}]",
            fix="ask the project's owner to add the user, with roles",
        )
    name = require_signature(note, ledger)
    return NoteAuthor(Principal(name, tuple(project.users[note.user].roles)), note)


def require_signature(note: UserNote, ledger: LedgerEntries) -> str:
    """Return the name of the user (`user:NAME`) whose enrolled key signed a note. Raises Refused, CorruptedError."""
    name = f"user:{note.user}"
    enrolled_key = find_enrolled_key(ledger, name)
    if enrolled_key is None:
        raise Refused(f"the ledger has no enrollment of {name}", fix="run `wellspring users enroll`, then try again")
    if enrolled_key != note.public_key:
        raise CorruptedError(
            f"{name} was enrolled with another key than the one in OpenBao", fix="stop; keep everything"
        )
    try:
        is_valid = notes.verify_note_signature(note.public_key, note.signature, encode_note(note))
    except MalformedError:
        is_valid = False
    if not is_valid:
        raise Refused(f"the signature of {name} under this {note.kind} is invalid", fix=_SIGN_AGAIN)
    return name


def describe_note(note: UserNote) -> dict[str, JsonValue]:
    """Return what the entry of an act records of its note: user, key, signature and digest."""
    return {
        "user": f"user:{note.user}",
        "key_id": public_key_id(base64.b64decode(note.public_key)),
        "signature": note.signature,
        "note_digest": compute_note_digest(note),
    }


def find_execution(note: UserNote, ledger: LedgerEntries, action: str) -> Entry | None:
    """Return the entry of the act that a note permitted; None if it was not executed yet.

    A note permits its act once: a job that is executed again after a crash, or a copy of the note, changes nothing.
    """
    digest = compute_note_digest(note)
    for indexed in ledger.list_entries(action=action, phase="done"):
        if indexed.entry.text("note_digest") == digest:
            return indexed.entry
    return None


def encode_note(note: UserNote) -> bytes:
    """Return the text that the user signed. Raises Refused for lines that no note can have."""
    try:
        return notes.note_text(note.kind, *note.lines)
    except MalformedError as exc:
        raise Refused(f"the note of user:{note.user} is malformed: {exc}", fix=_SIGN_AGAIN) from None


def compute_note_digest(note: UserNote) -> str:
    """Return the SHA-256 (hex) of the text of a note and its signature."""
    return hashlib.sha256(encode_note(note) + note.signature.encode()).hexdigest()


def hash_reason(reason: str) -> str:
    """Return the digest of the reason of an act, which its note contains."""
    return hashlib.sha256(reason.encode()).hexdigest()

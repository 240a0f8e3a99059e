"""Define the signed note of a user's act, which a job carries instead of a login."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Frozen

NoteKind = Literal[
    "proposal",
    "release",
    "rollback",
    "deployment",
    "undeployment",
    "acknowledgement",
    "withdrawal",
    "rejudgement",
    "discard",
    "hold",
    "lift_hold",
]


class UserNote(Frozen):
    """What a user signed when they submitted an act. It is public: it names the user and proves the act, no more.

    kind, lines: of the text (`wellspring_verify.approvals.note_text`). user: the user's name, without `user:`.
    public_key, signature: Ed25519, in base64.
    """

    kind: NoteKind
    lines: tuple[str, ...]
    user: str
    public_key: str
    signature: str

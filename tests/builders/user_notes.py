"""Notes that users sign, for tests of acts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.builders.approvals import Somebody
from wellspring.records.user_notes import NoteKind, UserNote
from wellspring.trust.user_notes import sign_note

SIGNED_AT = "2026-11-25T12:00:00.000000Z"


def sign(person: Somebody, kind: NoteKind, *lines: str) -> UserNote:
    """Return the note that a person signs."""
    user: Any = person
    return sign_note(user, kind, *lines)


def project_with_users(*people: Somebody, **fields: object) -> Any:
    """A project whose wellspring.toml names these people with their roles."""
    users = {
        person.principal.name.removeprefix("user:"): SimpleNamespace(roles=person.principal.roles) for person in people
    }
    fields = {"changes_dir": Path("/project/.wellspring/changes"), **fields}
    return SimpleNamespace(root=Path("/project"), users=users, **fields)

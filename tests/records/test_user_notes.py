"""The note of an act is public, and travels in a job as JSON."""

from __future__ import annotations

from tests.builders.approvals import Somebody
from tests.builders.user_notes import SIGNED_AT, sign
from wellspring.trust.user_notes import parse_note


def test_a_note_holds_no_secret_and_travels_as_json():
    note = sign(Somebody("ana", "owner"), "rollback", "denials", "f" * 12, SIGNED_AT)
    document = note.model_dump(mode="json")
    assert document.keys() == {"kind", "lines", "user", "public_key", "signature"}
    assert parse_note(document, "rollback") == note

"""A job carries a signed note instead of a login: nobody acts for another, and a note permits one act, once."""

from __future__ import annotations

import base64

import pytest

from tests.builders.approvals import Books, Somebody
from tests.builders.user_notes import SIGNED_AT, project_with_users, sign
from wellspring.errors import CorruptedError, Refused
from wellspring.trust import user_notes
from wellspring_verify import approvals as notes

LINES = ("denials", "f" * 12, SIGNED_AT)


@pytest.fixture
def ana() -> Somebody:
    return Somebody("ana", "owner")


@pytest.fixture
def bo() -> Somebody:
    return Somebody("bo", "approver")


def test_the_author_of_a_note_has_the_roles_of_the_project(ana: Somebody):
    note = sign(ana, "rollback", *LINES)
    author = user_notes.authenticate_note(note, project_with_users(ana), Books(ana))
    assert author.principal == ana.principal
    assert author.key_id == ana.key_id
    author.require_lines(*LINES)
    assert notes.verify_note_signature(
        base64.b64encode(ana.public_key).decode(), note.signature, notes.rollback_text(*LINES)
    )
    assert author.facts["user"] == "user:ana"


def test_nobody_acts_in_the_name_of_another(ana: Somebody, bo: Somebody):
    forged = sign(bo, "rollback", *LINES).model_copy(update={"user": "ana"})
    with pytest.raises(CorruptedError, match="enrolled with another key"):
        user_notes.authenticate_note(forged, project_with_users(ana, bo), Books(ana, bo))
    taken = forged.model_copy(update={"public_key": sign(ana, "rollback", *LINES).public_key})
    with pytest.raises(Refused, match=r"signature of user:ana .* is invalid"):
        user_notes.authenticate_note(taken, project_with_users(ana, bo), Books(ana, bo))


def test_a_signature_is_valid_for_its_own_kind_and_lines_only(ana: Somebody):
    note, project, books = sign(ana, "proposal", *LINES), project_with_users(ana), Books(ana)
    for changed in ({"kind": "release"}, {"lines": (*LINES[:2], "later")}, {"lines": LINES[:2]}):
        with pytest.raises(Refused, match="is invalid"):
            user_notes.authenticate_note(note.model_copy(update=changed), project, books)
    author = user_notes.authenticate_note(note, project, books)
    with pytest.raises(Refused, match="signed another proposal"):
        author.require_lines("denials", "e" * 12, SIGNED_AT)
    with pytest.raises(Refused, match="signed another proposal"):
        author.sign(notes.rollback_text(*LINES))


def test_who_is_not_in_the_project_or_not_enrolled_cannot_act(ana: Somebody, bo: Somebody):
    note = sign(ana, "rollback", *LINES)
    with pytest.raises(Refused, match=r"has no \[users.ana\]"):
        user_notes.authenticate_note(note, project_with_users(bo), Books(ana, bo))
    with pytest.raises(Refused, match="no enrollment of user:ana"):
        user_notes.authenticate_note(note, project_with_users(ana), Books(bo))


@pytest.mark.parametrize(
    "value",
    [None, {}, "note", {"kind": "rollback"}, {"kind": "rollback", "lines": [], "user": "../x", "public_key": "",
     "signature": ""}, {"kind": "release", "lines": ["a"], "user": "ana", "public_key": "", "signature": ""}],
)  # fmt: skip
def test_a_job_without_the_note_of_its_kind_is_refused(value: object):
    with pytest.raises(Refused, match="carries no signed"):
        user_notes.parse_note(value, "rollback")


def test_a_line_that_no_note_can_have_is_refused(ana: Somebody):
    note = sign(ana, "rollback", *LINES).model_copy(update={"lines": ("denials", "two words", SIGNED_AT)})
    with pytest.raises(Refused, match="malformed"):
        user_notes.authenticate_note(note, project_with_users(ana), Books(ana))


def test_a_note_that_was_executed_is_found_again(ana: Somebody):
    note, books = sign(ana, "rollback", *LINES), Books(ana)
    author = user_notes.authenticate_note(note, project_with_users(ana), books)
    assert user_notes.find_execution(note, books, "rollback") is None
    with books.step("rollback", "release:1", facts=author.facts):
        pass
    executed = user_notes.find_execution(note, books, "rollback")
    assert executed is not None
    assert executed.subject == "release:1"
    later_note = sign(ana, "rollback", *LINES[:2], "2026-11-25T12:00:01.000000Z")
    assert user_notes.find_execution(later_note, books, "rollback") is None

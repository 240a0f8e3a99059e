"""Releases of changes: how the notes and the ledger name one."""

from __future__ import annotations

from tests.builders.changes import build_change


def test_a_change_is_named_by_kind_and_name_and_its_content_by_digest():
    change = build_change("policy", "benefits", content="1" * 64)
    assert (change.subject, change.signed_name) == (f"release:{change.id}", "policy:benefits")
    assert (change.content_ref.name, change.content_ref.digest) == ("policy:benefits", "1" * 64)

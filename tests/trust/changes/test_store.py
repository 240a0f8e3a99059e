"""The folder of released changes: a record that differs from its digest is never returned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.changes import build_change
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.trust.changes.store import ChangeStore


def test_a_release_is_read_by_its_id_and_live_by_kind_and_name(tmp_path: Path):
    store, change = ChangeStore(tmp_path), build_change()
    assert (store.live_id("policy", "benefits"), store.list_live()) == ("", ())
    assert store.save(change) == store.save(change) == store.get(change.id) == change
    store.set_live(change)
    assert (store.live_id("policy", "benefits"), store.list_live()) == (change.id, (change,))
    assert (store.get_live("transform", "benefits"), store.list_ids()) == (None, (change.id,))


def test_a_changed_record_is_neither_stored_nor_read(tmp_path: Path):
    store, change = ChangeStore(tmp_path), build_change()
    with pytest.raises(Refused, match="does not match its digest"):
        store.save(change.model_copy(update={"needs_second_person": False}))
    store.save(change)
    path = tmp_path / "releases" / f"{change.id}.json"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"needs_second_person":true', b'"needs_second_person":false'))
    with pytest.raises(CorruptedError, match="does not match its digest"):
        store.get(change.id)


def test_a_pointer_to_a_release_of_something_else_is_corrupt(tmp_path: Path):
    store, change = ChangeStore(tmp_path), build_change("transform", "benefits")
    store.save(change)
    (tmp_path / "live/policy").mkdir(parents=True)
    (tmp_path / "live/policy/benefits").write_text(change.id)
    with pytest.raises(CorruptedError, match=r"names release .* of transform:benefits"):
        store.get_live("policy", "benefits")


def test_a_name_outside_the_folder_is_refused(tmp_path: Path):
    with pytest.raises(NotFound):
        ChangeStore(tmp_path).set_live(build_change("policy", "../elsewhere"))

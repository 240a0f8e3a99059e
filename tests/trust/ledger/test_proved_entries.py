from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders.ledger import Ledger, LocalSigner
from wellspring.errors import CorruptedError
from wellspring.trust.ledger.proved_entries import ProvedEntries
from wellspring.trust.ledger.tree import decode_bundle, encode_bundle
from wellspring_verify import notes


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def open_entries(ledger: Ledger, signer: LocalSigner | None = None) -> ProvedEntries:
    key = notes.VerifierKey(ledger.origin, notes.KIND_LOG, (signer or LocalSigner()).public_key())
    return ProvedEntries(ledger.tree, key, ("promote", "rollback"))


def indexes(entries: ProvedEntries, **filters: str) -> list[int]:
    return [indexed.index for indexed in entries.list_entries(**filters)]  # type: ignore[arg-type]


def test_entries_of_its_actions_are_listed_and_a_refresh_adds_those_that_came(ledger: Ledger):
    entries = open_entries(ledger)
    entries.refresh()
    ledger.write(3)
    ledger.write(1, subject="release:a", action="promote")
    ledger.sequencer.integrate()
    entries.refresh()
    assert indexes(entries) == [3]
    # More than one bundle, so that the next refresh begins inside a full tile.
    ledger.write(300)
    ledger.write(1, subject="release:b", action="rollback")
    ledger.sequencer.integrate()
    entries.refresh()
    assert indexes(entries) == [3, 304]
    assert indexes(entries, subject="release:b") == indexes(entries, action="rollback") == [304]
    fresh = open_entries(ledger)
    fresh.refresh()
    assert fresh.list_entries() == entries.list_entries()


def test_a_row_of_the_index_changes_nothing(ledger: Ledger):
    ledger.write(1, subject="release:a", action="promote")
    ledger.sequencer.integrate()
    with closing(sqlite3.connect(ledger.folder / "ledger" / "index.sqlite")) as file, file:
        file.execute("delete from entries")
    entries = open_entries(ledger)
    entries.refresh()
    assert indexes(entries) == [0]


@pytest.mark.parametrize("change", ["leave out", "edit", "roll back", "foreign key"])
def test_a_log_that_does_not_match_its_signed_checkpoint_is_refused(ledger: Ledger, change: str):
    ledger.write(1, subject="release:a", action="promote")
    ledger.sequencer.integrate()
    earlier = ledger.paths.read("checkpoint")
    ledger.write(1, subject="release:b", action="promote")
    ledger.sequencer.integrate()
    entries = open_entries(ledger, LocalSigner(b"\x09" * 32) if change == "foreign key" else None)
    name = "tile/entries/000.p/2"
    if change == "roll back":
        entries.refresh()
        ledger.paths.replace("checkpoint", earlier)
    elif change != "foreign key":
        contents = decode_bundle(ledger.paths.read(name))
        contents[1] = contents[1].replace(b"promote" if change == "leave out" else b"release:b", b"release:c")
        ledger.paths.replace(name, encode_bundle(contents))
    with pytest.raises(CorruptedError):
        entries.refresh()
    assert indexes(entries) == ([0, 1] if change == "roll back" else [])

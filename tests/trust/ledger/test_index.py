import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders.ledger import Ledger, tell_drop
from wellspring.errors import CorruptedError, Unavailable
from wellspring.records.trust import IndexedEntry
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.tree import CHECKPOINT_FILE, MerkleTree


def result(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    tell_drop(ledger, "d1", edition="e1", parent=None)
    tell_drop(ledger, "d2", edition="e2", parent="e1")
    ledger.sequencer.integrate()
    return ledger


def ids(matches: list[IndexedEntry]) -> list[str]:
    return [item.entry.id for item in matches]


def test_it_answers_by_subject_action_phase_and_id(tmp_path: Path):
    index = result(tmp_path).index
    assert [item.entry.action for item in index.list_entries(subject="drop:d1")] == ["land", "admit", "stage", "settle"]
    assert ids(index.list_entries(action="publish", phase="intent")) == ["worker:1", "worker:4"]
    assert ids(index.list_entries(subject="drop:d2", action="land", phase="done")) == ["enclave:3"]
    assert [item.index for item in index.list_entries()] == list(range(12))
    assert (index.last_sequence("worker"), index.last_sequence("nobody")) == (5, -1)
    assert index.list_subjects() == ["drop:d1", "drop:d2", "edition:e1", "edition:e2"]


def test_an_intent_is_open_until_something_settles_it(tmp_path: Path):
    ledger = result(tmp_path)
    assert ledger.index.list_open_intents() == []
    intent = ledger.journal().append_entry(
        actor="service:worker", action="publish", phase="intent", subject="edition:e3", trace="0" * 32
    )
    ledger.sequencer.integrate()
    assert ids(ledger.index.list_open_intents()) == [intent.id]
    ledger.journal().append_entry(
        actor="service:worker", action="publish", phase="failed", subject="edition:e3", intent=intent.id, trace="0" * 32
    )
    ledger.sequencer.integrate()
    assert ledger.index.list_open_intents() == []


def test_it_can_be_made_again_from_the_tiles(tmp_path: Path):
    ledger = result(tmp_path)
    path = ledger.folder / "ledger" / "index.sqlite"
    before = ledger.index.list_entries()
    path.unlink()
    with pytest.raises(Unavailable):
        ledger.index.list_entries()
    ledger.index.rebuild()
    assert ledger.index.list_entries() == before
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable):
        ledger.index.list_entries()
    ledger.index.refresh()
    assert ledger.index.list_entries() == before


def test_it_grows_with_the_tree_and_follows_it_back(tmp_path: Path):
    ledger = Ledger(tmp_path)
    assert ledger.index.list_entries() == []
    ledger.write(250)
    old = ledger.sequencer.integrate()
    ledger.write(10)
    new = ledger.sequencer.integrate()
    assert len(ledger.index.list_entries()) == 260
    ledger.paths.replace(CHECKPOINT_FILE, old.note)
    ledger.index.refresh()
    assert len(ledger.index.list_entries()) == 250
    ledger.paths.replace(CHECKPOINT_FILE, new.note)
    ledger.index.refresh()
    assert ledger.index.find_differing_tables(ledger.tree.size) == []


def test_readers_change_nothing(tmp_path: Path):
    ledger = result(tmp_path)
    index = LedgerIndex(ledger.folder / "ledger" / "index.sqlite", MerkleTree(ledger.paths), ledger.journals)
    with index._open_read_only() as file:  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            file.execute("delete from entries")


def test_an_entry_that_stands_in_the_tree_twice_is_named(tmp_path: Path):
    ledger = result(tmp_path)
    ledger.write(1)
    with closing(sqlite3.connect(ledger.folder / "ledger" / "index.sqlite")) as file, file:
        file.execute("update entries set id = 'worker:6' where id = 'worker:5'")
    with pytest.raises(CorruptedError, match="twice"):
        ledger.sequencer.integrate()

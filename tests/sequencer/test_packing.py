"""Line packs in the log: what is packed, what a crash leaves, what leaves the journals, and what damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.answers import LedgerPacker, write_answers
from tests.builders.ledger import JournalStep, Killer, Ledger
from tests.builders.recording_step import Died
from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.sequencer import packing
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
from wellspring.trust.ledger.journal_state import PACKED_FILE, SEEN_FILE, read_states
from wellspring_verify.leaf import parse_leaf

POINTS = ("written", "recorded", "witnessed", "released")


def open_packer(ledger: Ledger) -> LedgerPacker:
    return LedgerPacker(ledger, JournalStep(ledger, "sequencer"))


def audit(ledger: Ledger) -> tuple[str, ...]:
    folder = ledger.folder / "ledger"
    evidence = JournalEvidence(ledger.journals, read_states(folder, SEEN_FILE), read_states(folder, PACKED_FILE))
    return audit_ledger(ledger.tree, journals=evidence, index=ledger.index).findings


def stored_packs(ledger: Ledger) -> list[str]:
    return list(ledger.paths.list("packs"))


def read_answers(ledger: Ledger) -> list[Entry]:
    return [indexed.entry for indexed in ledger.index.list_entries(action="predict")]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_the_tree_holds_the_digest_of_an_answer_in_fewer_than_100_bytes(ledger: Ledger):
    ledger.write(2)
    answers = write_answers(ledger, 3)
    ledger.sequencer.integrate()
    leaves = [leaf for content in ledger.contents() if (leaf := parse_leaf(content))]
    assert [leaf.id for leaf in leaves] == [answer.id for answer in answers]
    assert max(len(leaf._replace(sequence=10**11).encode()) for leaf in leaves) < 100
    assert read_answers(ledger) == answers
    assert [item.entry for item in ledger.index.list_entries(subject=answers[1].subject)] == [answers[1]]
    assert audit(ledger) == ()


def test_packed_lines_leave_the_journal_and_are_found(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(journal, "STATE_LINES", 5)
    answers = write_answers(ledger, 40)
    before = len(journal.list_segments(ledger.journals / "api"))
    assert open_packer(ledger).pack() == 40
    assert len(stored_packs(ledger)) == 1
    answers += write_answers(ledger, 10, first=40)
    assert len(journal.list_segments(ledger.journals / "api")) < before
    ledger.sequencer.integrate()
    assert read_answers(ledger) == answers
    assert audit(ledger) == ()
    # Another process continues the journal, and its running digest.
    ledger.close()
    again = Ledger(ledger.folder)
    answers += write_answers(again, 10, first=50)
    again.sequencer.integrate()
    assert (read_answers(again), audit(again)) == (answers, ())


def test_nothing_leaves_a_journal_before_its_lines_are_packed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(journal, "STATE_LINES", 5)
    write_answers(ledger, 40)
    ledger.sequencer.integrate()
    write_answers(ledger, 10, first=40)
    assert journal.first_sequence(ledger.journals, "api") == 0


def test_a_second_run_packs_only_what_is_new(ledger: Ledger):
    packer = open_packer(ledger)
    write_answers(ledger, 3)
    assert packer.pack() == 3
    assert packer.pack() == 0
    write_answers(ledger, 2, first=3)
    assert open_packer(ledger).pack() == 2
    ranges = ledger.index.list_packs()
    assert (len(ranges), ranges[0].last < ranges[1].first) == (2, True)


def test_many_lines_become_several_packs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing, "MAX_PACK_LINES", 4)
    answers = write_answers(ledger, 10)
    assert open_packer(ledger).pack() == 10
    assert len(ledger.index.list_packs()) == 3
    assert read_answers(ledger) == answers


@pytest.mark.parametrize("point", [*(f"ledger.pack:{name}" for name in POINTS), "ledger.journal:segment-removed"])
def test_a_crash_at_any_point_loses_nothing(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(journal, "STATE_LINES", 5)
    ledger = Ledger(tmp_path, reached=Killer(point))
    answers = write_answers(ledger, 40)

    def pack_and_continue() -> None:
        open_packer(ledger).pack()
        write_answers(ledger, 10, first=40)

    with pytest.raises(Died):
        pack_and_continue()
    ledger.close()
    after = Ledger(tmp_path)
    count = 1 + max(sequence for sequence, _ in journal.read_lines(after.journals, "api"))
    write_answers(after, 5, first=100)
    assert open_packer(after).pack() >= 5
    assert [answer.id for answer in read_answers(after)][: len(answers)] == [answer.id for answer in answers]
    assert len(read_answers(after)) >= count - 10
    assert sorted(stored_packs(after)) == sorted(f"packs/{pack.digest}" for pack in after.index.list_packs())
    assert audit(after) == ()


def test_the_index_is_built_again_from_packs_and_journals(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(journal, "STATE_LINES", 5)
    answers = write_answers(ledger, 40)
    open_packer(ledger).pack()
    answers += write_answers(ledger, 10, first=40)
    ledger.sequencer.integrate()
    (ledger.folder / "ledger" / "index.sqlite").unlink()
    ledger.index.refresh()
    assert read_answers(ledger) == answers
    assert [item.entry for item in ledger.index.list_entries(subject=answers[7].subject)] == [answers[7]]
    assert audit(ledger) == ()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_pack_is_named_and_stops_nothing_else(ledger: Ledger, damage: object):
    answers = write_answers(ledger, 5)
    open_packer(ledger).pack()
    (name,) = stored_packs(ledger)
    assert callable(damage)
    damage(ledger.folder / "ledger" / name)
    assert any(name in finding for finding in audit(ledger))
    fresh = Ledger(ledger.folder)
    with pytest.raises(CorruptedError, match="line pack"):
        fresh.index.list_entries(subject=answers[0].subject)
    ledger.write(1)
    ledger.sequencer.integrate()
    assert ledger.index.list_entries(action="stage")


def test_a_pack_in_the_place_of_another_is_named(ledger: Ledger):
    packer = open_packer(ledger)
    for first in (0, 5):
        write_answers(ledger, 5, first=first)
        packer.pack()
    older, newer = (ledger.folder / "ledger" / name for name in stored_packs(ledger))
    older_content, newer_content = older.read_bytes(), newer.read_bytes()
    older.write_bytes(newer_content)
    newer.write_bytes(older_content)
    assert len([finding for finding in audit(ledger) if "it was changed" in finding]) == 2


def test_a_lost_line_stops_the_packing_and_is_named(ledger: Ledger):
    write_answers(ledger, 5)
    ledger.sequencer.integrate()
    (segment,) = journal.list_segments(ledger.journals / "api")
    lines = segment.path.read_bytes().splitlines(keepends=True)
    segment.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(CorruptedError, match="is missing"):
        open_packer(ledger).packer.write_packs()
    assert stored_packs(ledger) == []
    assert any("line 4 is in the tree, but missing in the journal" in finding for finding in audit(ledger))


def test_a_journal_that_was_cut_at_its_beginning_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4_000)
    write_answers(ledger, 40)
    ledger.sequencer.integrate()
    journal.list_segments(ledger.journals / "api")[0].path.unlink()
    assert any("lines are gone; only 0 are packed" in finding for finding in audit(ledger))

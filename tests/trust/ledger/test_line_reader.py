"""Lines are read from packs or journals, also while one becomes the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.answers import LedgerPacker, write_answers
from tests.builders.ledger import JournalStep, Ledger
from wellspring.errors import CorruptedError
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.line_reader import LineReader, PackRange


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.write(1)
    ledger.sequencer.integrate()
    write_answers(ledger, 6)
    ledger.sequencer.integrate()
    return ledger


def pack(ledger: Ledger) -> None:
    LedgerPacker(ledger, JournalStep(ledger, "sequencer")).pack()


def test_each_line_is_read_by_its_index_in_the_tree(ledger: Ledger):
    before = list(ledger.index.lines.iter_lines(0, 7))
    assert [tree_index for tree_index, _ in before] == [1, 2, 3, 4, 5, 6]
    pack(ledger)
    write_answers(ledger, 2, first=6)
    ledger.sequencer.integrate()
    after = list(ledger.index.lines.iter_lines(0, ledger.tree.size))
    assert (after[:6], len(after)) == (before, 8)
    assert [ledger.index.lines.read_line(tree_index) for tree_index, _ in after] == [line for _, line in after]
    assert list(ledger.index.lines.iter_lines(3, 5)) == before[2:4]


def test_an_entry_that_is_whole_in_the_tree_has_no_other_line(ledger: Ledger):
    with pytest.raises(CorruptedError, match="holds no digest"):
        ledger.index.lines.read_line(0)


def test_a_line_that_leaves_its_journal_while_it_is_read_comes_from_the_pack(ledger: Ledger):
    expected = dict(ledger.index.lines.iter_lines(0, 7))
    (segment,) = journal.list_segments(ledger.journals / "api")
    answers: list[PackRange | None] = []

    def find_pack(tree_index: int) -> PackRange | None:
        # At the first look there is no pack; before the second one the journal has lost its lines to it.
        answers.append(ledger.index.find_pack(tree_index) if answers else None)
        return answers[-1]

    pack(ledger)
    segment.path.unlink()
    assert LineReader(ledger.tree, ledger.journals, find_pack).read_line(3) == expected[3]
    assert answers[0] is None
    assert answers[-1] is not None


def test_a_changed_line_is_an_error(ledger: Ledger):
    (segment,) = journal.list_segments(ledger.journals / "api")
    segment.path.write_bytes(segment.path.read_bytes().replace(b'"score":"0x1', b'"score":"0x2'))
    with pytest.raises(CorruptedError, match="is changed"):
        list(ledger.index.lines.iter_lines(0, 7))
    readable = list(ledger.index.lines.iter_lines(0, 7, skip_damaged=True))
    assert 0 < len(readable) < 6

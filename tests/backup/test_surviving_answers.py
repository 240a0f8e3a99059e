from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.backup.surviving_answers import adopt_answers
from wellspring.errors import CorruptedError, Refused
from wellspring.trust.ledger import journal


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A project whose journal of the API goes on after `restored` was copied."""
    ledger = Ledger(tmp_path / "lost")
    ledger.write(5, "api", "prediction:p1", "predict")
    ledger.write(2, "worker")
    shutil.copytree(ledger.journals, tmp_path / "restored")
    ledger.write(3, "api", "prediction:p2", "predict")
    ledger.write(4, "worker")
    return ledger


def lines(folder: Path, service: str = "api") -> list[bytes]:
    return [line for _, line in journal.read_lines(folder, service)]


def test_answers_after_the_backup_are_adopted_and_nothing_else(ledger: Ledger, tmp_path: Path):
    assert adopt_answers(tmp_path / "restored", ledger.journals) == 3
    assert lines(tmp_path / "restored") == lines(ledger.journals)
    assert len(lines(tmp_path / "restored", "worker")) == 2
    assert adopt_answers(tmp_path / "restored", ledger.journals) == 0


def test_a_line_that_the_pause_cut_is_taken_whole(ledger: Ledger, tmp_path: Path):
    path = journal.list_segments(tmp_path / "restored" / "api")[-1].path
    path.write_bytes(path.read_bytes()[:-10])
    assert adopt_answers(tmp_path / "restored", ledger.journals) == 4
    assert lines(tmp_path / "restored") == lines(ledger.journals)


def test_adopted_answers_are_in_the_log(ledger: Ledger, tmp_path: Path):
    adopt_answers(tmp_path / "restored", ledger.journals)
    again = Ledger(tmp_path / "again")
    shutil.copytree(tmp_path / "restored", again.journals, dirs_exist_ok=True)
    again.sequencer.integrate()
    assert len(again.contents()) == 10


def test_another_journal_is_refused(ledger: Ledger, tmp_path: Path):
    foreign = Ledger(tmp_path / "foreign")
    foreign.write(9, "api", "prediction:p9", "predict")
    with pytest.raises(Refused, match="differs from that of the backup"):
        adopt_answers(tmp_path / "restored", foreign.journals)
    with pytest.raises(Refused, match="has no journal of api"):
        adopt_answers(tmp_path / "restored", tmp_path)


def test_a_gap_of_packed_lines_is_refused(ledger: Ledger, tmp_path: Path):
    path = journal.list_segments(ledger.journals / "api")[0].path
    remaining = path.read_bytes().split(b"\n")[7:]
    path.unlink()
    (path.parent / "000000000007.log").write_bytes(b"\n".join(remaining))
    with pytest.raises(Refused, match="were packed"):
        adopt_answers(tmp_path / "restored", ledger.journals)


def test_a_backup_without_that_journal_is_corrupted(ledger: Ledger, tmp_path: Path):
    shutil.rmtree(tmp_path / "restored" / "api")
    with pytest.raises(CorruptedError, match="has no journal of api"):
        adopt_answers(tmp_path / "restored", ledger.journals)

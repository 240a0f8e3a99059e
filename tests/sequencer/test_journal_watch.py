from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.sequencer.journal_watch import JournalWatch
from wellspring.trust.ledger import journal


def test_each_change_is_noticed_once(tmp_path: Path):
    ledger, watch = Ledger(tmp_path), JournalWatch(tmp_path / "journals")
    assert not watch.has_grown()
    for service in ("worker", "api", "worker"):
        ledger.write(1, service)
        assert watch.has_grown()
        assert not watch.has_grown()
    ledger.close()


def test_a_line_in_a_new_segment_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    ledger, watch = Ledger(tmp_path), JournalWatch(tmp_path / "journals")
    for _ in range(30):
        ledger.write(1)
        assert watch.has_grown()
        assert not watch.has_grown()
    assert len(journal.list_segments(tmp_path / "journals" / "worker")) > 5
    ledger.close()

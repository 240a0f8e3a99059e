"""Lines that vanish after they were seen are noticed, also by the next process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.errors import CorruptedError
from wellspring.sequencer.journal_scan import JournalScan
from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
from wellspring.trust.ledger.journal_state import SEEN_FILE, read_states


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger whose sequencer has seen five lines of the API and two of the worker, and integrated none."""
    item = Ledger(tmp_path)
    item.write(5, "api")
    item.write(2, "worker")
    assert scan(item).find_differences() == {}
    item.close()
    return item


def scan(ledger: Ledger) -> JournalScan:
    return JournalScan(ledger.journals, ledger.folder / "ledger")


def cut(ledger: Ledger, count: int) -> None:
    """Remove the last lines of the journal of the API."""
    file = ledger.journals / "api" / "000000000000.log"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-count]))


def audit(ledger: Ledger) -> tuple[str, ...]:
    return audit_ledger(
        ledger.tree, journals=JournalEvidence(ledger.journals, read_states(ledger.folder / "ledger", SEEN_FILE))
    ).findings


def test_lines_that_were_cut_before_their_integration_are_a_finding(ledger: Ledger):
    assert audit(ledger) == ()
    cut(ledger, 2)
    for scanner in (scan(ledger), scan(ledger)):
        differences = scanner.find_differences()
        assert list(differences) == ["api"]
        assert "the journal of api lacks entry 3" in differences["api"].what
    (finding,) = audit(ledger)
    assert finding == "journals/api: it has 3 lines, and the sequencer has seen 5: 2 acknowledged lines are missing"


def test_lines_that_were_replaced_are_a_finding_at_the_next_heartbeat(ledger: Ledger):
    cut(ledger, 2)
    # The service starts again, and takes the shorter journal for the whole one.
    ledger.write(2, "api", subject="drop:other")
    (finding,) = audit(ledger)
    assert finding == "journals/api: its first 5 lines are not those seen before"
    assert scan(ledger).find_differences() == {}
    ledger.write(1, "api", action="heartbeat")
    for scanner in (scan(ledger), scan(ledger)):
        assert "they were changed" in scanner.find_differences()["api"].what
    ledger.close()


def test_a_journal_that_was_removed_is_named_by_the_audit(ledger: Ledger):
    for path in (ledger.journals / "api").iterdir():
        path.unlink()
    (ledger.journals / "api").rmdir()
    (finding,) = audit(ledger)
    assert "it has 0 lines, and the sequencer has seen 5" in finding


def test_a_damaged_file_of_seen_states_is_not_taken_for_an_empty_one(ledger: Ledger):
    (ledger.folder / "ledger" / SEEN_FILE).write_bytes(b"{}}")
    with pytest.raises(CorruptedError, match="is damaged"):
        scan(ledger)


def test_nothing_is_written_while_nothing_is_new(ledger: Ledger):
    file = ledger.folder / "ledger" / SEEN_FILE
    before = file.stat().st_mtime_ns
    scanner = scan(ledger)
    scanner.find_differences()
    assert file.stat().st_mtime_ns == before
    ledger.write(1, "worker")
    scanner.find_differences()
    assert file.stat().st_mtime_ns != before
    ledger.close()

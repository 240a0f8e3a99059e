"""New lines of several journals come in order of time, and a damaged journal ends without the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from tests.builders.ledger import Ledger
from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.trust.ledger.index import parse_entry
from wellspring.trust.ledger.journal import encode_entry
from wellspring.trust.ledger.journal_merge import JournalMerge, is_canonical


def new_ids(merge: JournalMerge, count: int = 100) -> list[str]:
    return [row.id for row in merge.take(count)]


def test_lines_are_ordered_by_time_and_within_a_journal_by_sequence(tmp_path: Path):
    ledger = Ledger(tmp_path)
    for service in ("worker", "api", "worker", "enclave"):
        ledger.write(1, service)
        ledger.clock.pass_(seconds=1)
    # Less than the time after which the journal would add a heartbeat.
    ledger.clock.pass_(seconds=-30)
    ledger.write(1, "api")
    merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS)
    assert new_ids(merge, 2) == ["worker:0", "api:0"]
    # The clock was set back before the last line: it keeps its place in its journal.
    assert sorted(new_ids(merge)) == ["api:1", "enclave:0", "worker:1"]
    assert new_ids(JournalMerge(ledger.journals, {"worker": 1, "api": 0, "enclave": 0}.__getitem__, SERVICE_KEYS)) == [
        "api:1"
    ]
    ledger.close()


def test_a_damaged_journal_ends_before_its_damage(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(3, "api")
    ledger.write(3, "worker")
    ledger.close()
    file = ledger.journals / "api" / "000000000000.log"
    file.write_bytes(file.read_bytes().replace(b'"n":1', b'"n": 1'))
    merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS)
    assert sorted(new_ids(merge)) == ["api:0", "worker:0", "worker:1", "worker:2"]
    assert "line 1 of the journal of api" in merge.findings["api"].what
    file.unlink()
    merge = JournalMerge(ledger.journals, {"worker": 2, "api": 0}.__getitem__, SERVICE_KEYS)
    assert new_ids(merge) == []
    assert "lacks entry 1" in merge.findings["api"].what


def test_a_line_that_was_placed_must_be_the_next_of_its_journal(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(3, "api")
    contents = [row.content for row in JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS).take(3)]
    merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS)
    assert merge.confirm_placed(contents[0]).id == "api:0"
    with pytest.raises(CorruptedError, match="beyond the checkpoint has api:2"):
        merge.confirm_placed(contents[2])
    ledger.close()
    # The journal has lost its lines, and is left out: what was placed before is integrated in its order.
    (ledger.journals / "api" / "000000000000.log").write_bytes(b"")
    merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS, {"api"})
    assert [merge.confirm_placed(content).id for content in contents[:2]] == ["api:0", "api:1"]
    assert merge.take(5) == []
    with pytest.raises(CorruptedError, match="beyond the checkpoint has api:0"):
        merge.confirm_placed(contents[0])


def test_a_line_that_its_service_has_not_signed_ends_its_journal(tmp_path: Path):
    """Who may write into the folder of a journal, or holds the key of another service, adds no line to the log."""
    forged = {
        "of another service": ("supervisor", journal_key("worker"), {}),
        "of another journal of the service": ("worker", journal_key("worker-2"), {}),
        "of an answer by another service": ("enclave", None, {"action": "predict"}),
        "without a signature": ("worker", None, {}),
    }
    for number, (journal, key, changes) in enumerate(forged.values()):
        ledger = Ledger(tmp_path / str(number))
        ledger.write(1, "worker")
        ledger.write(1, journal)
        ledger.close()
        file = ledger.journals / journal / "000000000000.log"
        last = parse_entry(file.read_bytes().splitlines()[-1])
        update = {"sequence": last.sequence + 1, "facts": {}, "signature": None, **changes}
        entry = last.model_copy(update=update)
        if key is not None:
            entry = entry.model_copy(update={"signature": key.sign_line(encode_entry(entry))})
        file.write_bytes(file.read_bytes() + encode_entry(entry) + b"\n")
        merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS)
        assert f"{journal}:{entry.sequence}" not in new_ids(merge)
        assert f"line {entry.sequence} of the journal of {journal}" in merge.findings[journal].what


def test_a_line_that_was_changed_after_its_signature_ends_its_journal(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(2)
    ledger.close()
    file = ledger.journals / "worker" / "000000000000.log"
    file.write_bytes(file.read_bytes().replace(b'"n":1', b'"n":7'))
    merge = JournalMerge(ledger.journals, lambda _: -1, SERVICE_KEYS)
    assert new_ids(merge) == ["worker:0"]
    assert "its signature is not valid" in merge.findings["worker"].what


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(facts=st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_the_canonical_form_is_recognized_as_the_encoder_writes_it(facts: dict[str, JsonValue]):
    entry = Entry(
        tenant="acme",
        known_since=FixedClock().now(),
        service="api",
        sequence=1,
        actor="service:api",
        action="serve",
        phase="done",
        subject="view:x",
        facts=facts,
        trace="0" * 32,
    )
    content = encode_entry(entry)
    assert is_canonical(parse_entry(content), content)
    for changed in (content.replace(b":", b": ", 1), content.replace(b'"phase":"done",', b"")):
        assert not is_canonical(entry, changed)

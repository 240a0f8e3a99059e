"""A journal names its length and digest, so that lines that vanish are noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.journal_keys import journal_key
from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.journal import STATE_LINES, Journal, read_lines
from wellspring.trust.ledger.journal_state import (
    SEEN_FILE,
    JournalState,
    describe_difference,
    find_named_state,
    read_states,
    write_states,
)


def open_journal(folder: Path, clock: FixedClock | None = None) -> Journal:
    return Journal(folder, journal_key("api"), tenant="acme", clock=clock or FixedClock())


def add(to: Journal, action: str = "predict", count: int = 1) -> list[Entry]:
    return [
        to.append_entry(actor="service:api", action=action, phase="done", subject="x:y", trace="0" * 32)
        for _ in range(count)
    ]


def check_all(folder: Path) -> list[str]:
    """Recompute the state of the journal line by line; return the differences that its lines name."""
    state, differences = JournalState(), list[str]()
    for _, content in read_lines(folder, "api"):
        differences.append(describe_difference(state, content))
        state = state.add_line(content)
    return [difference for difference in differences if difference]


@pytest.mark.parametrize("action", ["create_key", "heartbeat"])
def test_a_key_and_a_heartbeat_name_the_lines_before_them(tmp_path: Path, action: str):
    writer = open_journal(tmp_path)
    add(writer, count=3)
    (entry,) = add(writer, action)
    assert entry.facts["lines"] == 3
    lines = [content for _, content in read_lines(tmp_path, "api")]
    assert find_named_state(lines[3]) == JournalState().add_line(lines[0]).add_line(lines[1]).add_line(lines[2])
    assert find_named_state(lines[0]) is None
    assert check_all(tmp_path) == []
    writer.close()


def test_a_heartbeat_follows_many_lines_and_a_minute(tmp_path: Path):
    clock = FixedClock()
    writer = open_journal(tmp_path, clock)
    add(writer, count=STATE_LINES)
    assert len(list(read_lines(tmp_path, "api"))) == STATE_LINES + 1
    add(writer)
    clock.pass_(seconds=59)
    add(writer)
    clock.pass_(seconds=1)
    assert [entry.sequence for entry in add(writer)] == [STATE_LINES + 3]
    lines = [json.loads(content) for _, content in read_lines(tmp_path, "api")]
    assert [line["sequence"] for line in lines if line["action"] == "heartbeat"] == [STATE_LINES, STATE_LINES + 4]
    assert check_all(tmp_path) == []
    writer.close()


def test_the_digest_continues_in_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
    for number in range(8):
        writer = open_journal(tmp_path)
        add(writer, count=5)
        add(writer, "heartbeat" if number % 3 == 0 else "predict")
        writer.close()
    assert len(journal.list_segments(tmp_path / "api")) > 4
    assert check_all(tmp_path) == []


def test_lines_that_were_cut_or_changed_are_named(tmp_path: Path):
    writer = open_journal(tmp_path)
    add(writer, count=4)
    add(writer, "heartbeat")
    writer.close()
    file = tmp_path / "api" / "000000000000.log"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[3], lines[4]]))
    assert check_all(tmp_path) == ["line 2 names the 4 lines before it, and 2 of them are missing"]
    file.write_bytes(b"".join(lines).replace(b'"x:y"', b'"x:z"', 1))
    assert check_all(tmp_path) == ["line 4 names the 4 lines before it, and they were changed"]


def test_seen_states_are_stored(tmp_path: Path):
    assert read_states(tmp_path, SEEN_FILE) == {}
    states = {"api": JournalState(3, b"\x01" * 32), "worker": JournalState()}
    write_states(tmp_path, SEEN_FILE, states)
    assert read_states(tmp_path, SEEN_FILE) == states
    for damaged in (b"", b"[]", b'{"api": 3}', b'{"api": {"lines": 3, "digest": "x"}}'):
        (tmp_path / SEEN_FILE).write_bytes(damaged)
        with pytest.raises(CorruptedError, match="is damaged"):
            read_states(tmp_path, SEEN_FILE)


def test_an_entry_of_another_form_names_nothing():
    inner = b'{"x":{"action":"heartbeat"},"action":"stage"}'
    for content in (b'{"action":"heartbeat"', b'{"action":"heartbeat"}', inner):
        assert find_named_state(content) is None

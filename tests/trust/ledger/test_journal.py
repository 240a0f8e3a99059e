import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders.journal_keys import journal_key
from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.records.trust import Entry, Ref
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.journal import Journal, read_lines
from wellspring_verify import canonical


def opened_files(folder: Path, service: str = "worker") -> Journal:
    return Journal(folder, journal_key(service), tenant="acme", clock=FixedClock())


def add(to: Journal, **facts: JsonValue) -> Entry:
    return to.append_entry(
        actor="service:worker",
        action="stage",
        phase="done",
        subject="drop:d",
        facts=facts,
        trace="0" * 32,
    )


def test_a_line_is_the_canonical_entry(tmp_path: Path):
    project = opened_files(tmp_path)
    entry = project.append_entry(
        actor="service:worker", action="stage", phase="done", subject="drop:d",
        inputs=[Ref(name="rows:d/0", digest="0" * 64)], facts={"b": 1, "a": ["x", None]}, trace="0" * 32,
    )  # fmt: skip
    assert (entry.id, entry.tenant) == ("worker:0", "acme")
    [(sequence, line)] = read_lines(tmp_path, "worker")
    assert sequence == 0
    assert line == canonical.dumps_canonical(entry.model_dump(mode="json"))
    assert Entry.model_validate_json(line) == entry
    assert (tmp_path / "worker" / "000000000000.log").read_bytes() == line + b"\n"


def test_sequences_go_on_where_the_last_process_ended(tmp_path: Path):
    project = opened_files(tmp_path)
    assert [add(project).sequence for _ in range(3)] == [0, 1, 2]
    project.close()
    project.close()
    assert add(opened_files(tmp_path)).sequence == 3
    assert [sequence for sequence, _ in read_lines(tmp_path, "worker", 1)] == [2, 3]
    assert list(read_lines(tmp_path, "worker", 3)) == []
    assert journal.list_services(tmp_path) == ["worker"]


def test_a_torn_last_line_is_cut_and_nothing_else(tmp_path: Path):
    project = opened_files(tmp_path)
    add(project)
    add(project)
    project.close()
    file = tmp_path / "worker" / "000000000000.log"
    whole = file.read_bytes()
    opened_files(tmp_path).close()
    assert file.read_bytes() == whole
    for torn in range(1, len(whole) // 2 - 1, 97):
        file.write_bytes(whole + whole[:torn])
        # A reader does not see the torn line either.
        assert len(list(read_lines(tmp_path, "worker"))) == 2
        opened_files(tmp_path).close()
        assert file.read_bytes() == whole


def test_a_line_that_is_gone_or_exchanged_is_named_and_never_written_over(tmp_path: Path):
    project = opened_files(tmp_path)
    for _ in range(3):
        add(project)
    project.close()
    file = tmp_path / "worker" / "000000000000.log"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])
    with pytest.raises(CorruptedError, match="does not end with entry 1"):
        opened_files(tmp_path)
    file.write_bytes(lines[0])
    with pytest.raises(CorruptedError, match="lacks entry 1"):
        list(read_lines(tmp_path, "worker", 2))
    with pytest.raises(CorruptedError, match="lacks entry 1"):
        list(read_lines(tmp_path, "nobody", 0))


def test_segments_follow_each_other_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    project = opened_files(tmp_path)
    for _ in range(20):
        add(project)
    project.close()
    expected = journal.list_segments(tmp_path / "worker")
    assert len(expected) > 3
    assert [sequence for sequence, _ in read_lines(tmp_path, "worker")] == list(range(20))
    assert [sequence for sequence, _ in read_lines(tmp_path, "worker", 12)] == list(range(13, 20))
    again = opened_files(tmp_path)
    assert add(again).sequence == 20
    again.close()
    expected[1].path.unlink()
    with pytest.raises(CorruptedError, match=f"lacks entry {expected[1].first_sequence}"):
        list(read_lines(tmp_path, "worker"))
    expected[0].path.unlink()
    with pytest.raises(CorruptedError, match="lacks entry 0"):
        list(read_lines(tmp_path, "worker", -1))


def test_only_one_process_writes_a_journal(tmp_path: Path):
    project = opened_files(tmp_path)
    script = (
        "import sys; from pathlib import Path; from tests.builders.recording_step import FixedClock\n"
        "from tests.builders.journal_keys import journal_key\n"
        "from wellspring.errors import Refused; from wellspring.trust.ledger.journal import Journal\n"
        "try: Journal(Path(sys.argv[1]), journal_key('worker'), tenant='acme', clock=FixedClock())\n"
        "except Refused: sys.exit(77)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=env, check=False).returncode == 77
    project.close()
    assert subprocess.run(command, env=env, check=False).returncode == 0


def test_facts_that_no_entry_can_hold_are_refused_and_take_no_place(tmp_path: Path):
    project = opened_files(tmp_path)
    for error in (1.5, 2**60, "\ud800", "x" * 70_000):
        with pytest.raises(Refused):
            add(project, wrong=error)
    assert add(project).sequence == 0


def test_threads_share_syncs_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    syncs: list[int] = []
    started = threading.Event()
    real = os.fdatasync

    def slow(handle: int) -> None:
        # The first sync lasts until all the others wait behind it.
        if not syncs:
            started.wait(10)
        syncs.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fdatasync", slow)
    project = opened_files(tmp_path)
    entries: list[Entry] = []
    threads = [threading.Thread(target=lambda: entries.append(add(project))) for _ in range(40)]
    for thread in threads:
        thread.start()
    while project.assigned_count < 40:
        threading.Event().wait(0.001)
    started.set()
    for thread in threads:
        thread.join()
    project.close()
    assert sorted(entry.sequence for entry in entries) == list(range(40))
    assert [json.loads(line)["sequence"] for _, line in read_lines(tmp_path, "worker")] == list(range(40))
    assert len(syncs) <= 4


def test_an_entry_is_never_acknowledged_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = opened_files(tmp_path)
    stored = add(project)
    events: list[str] = []
    real = os.fdatasync

    def observed(handle: int) -> None:
        real(handle)
        events.append("synced")

    monkeypatch.setattr(os, "fdatasync", observed)
    add(project)
    events.append("acknowledged")
    assert events == ["synced", "acknowledged"]

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Unavailable, match="could not be written"):
        add(project)
    monkeypatch.undo()
    # Nobody knows what the disk holds after a failed sync: this process writes no more.
    with pytest.raises(Unavailable, match="could not be written"):
        add(project)
    project.close()
    again = opened_files(tmp_path)
    assert [sequence for sequence, _ in read_lines(tmp_path, "worker")] == [0, 1]
    assert add(again).sequence == 2
    assert stored.sequence == 0


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path):
    script = (
        "import sys; from pathlib import Path; from tests.trust.ledger.test_journal import add, opened_files\n"
        "journal = opened_files(Path(sys.argv[1]))\n"
        "while True: print(add(journal).sequence, flush=True)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        result = [int(child.stdout.readline()) for _ in range(50)]
        child.kill()
        result += [int(line) for line in child.stdout.readlines()]
    stored = [sequence for sequence, _ in read_lines(tmp_path, "worker")]
    assert result == list(range(len(result)))
    assert stored[: len(result)] == result
    assert add(opened_files(tmp_path)).sequence == len(stored)


def test_a_closed_journal_takes_nothing(tmp_path: Path):
    project = opened_files(tmp_path)
    project.close()
    with pytest.raises(Unavailable, match="it is closed"):
        add(project)


def test_others_may_read_and_not_write(tmp_path: Path):
    before = os.umask(0o077)
    try:
        opened_files(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "worker" / "000000000000.log").stat().st_mode & 0o777 == 0o640

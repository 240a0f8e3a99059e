"""When lines are packed: at the cadence, when many wait, at a request, and again after a failure."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError, Unavailable
from wellspring.sequencer.packing import MAX_PACK_LINES, PackedLines
from wellspring.sequencer.packing_loop import PackingLoop
from wellspring.trust.ledger.remote_sequencer import PackReport


class ScriptedPacker:
    """Packs nothing; remembers what was called, and fails as a test sets."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.waiting = 0

    def integrate(self) -> None:
        self.calls.append("integrate")

    def write_packs(self) -> PackedLines:
        self.calls.append("write")
        if self.error is not None:
            raise self.error
        return PackedLines(1, 300, {"api": 300})

    def release_journals(self, counts: dict[str, int]) -> None:
        self.calls.append(f"release {counts['api']}")


@pytest.fixture
def packer() -> ScriptedPacker:
    return ScriptedPacker()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def loop(packer: ScriptedPacker, clock: FixedClock) -> PackingLoop:
    scripted: Any = packer
    return PackingLoop(scripted, packer.integrate, clock=clock, interval=timedelta(hours=1))


def test_a_journal_is_released_only_after_the_log_has_the_entry_of_the_pack(loop: PackingLoop, packer: ScriptedPacker):
    assert loop.pack() == PackReport(1, 300)
    assert packer.calls == ["integrate", "write", "integrate", "release 300"]


def test_lines_are_packed_soon_after_the_start_and_then_at_the_cadence(
    loop: PackingLoop, packer: ScriptedPacker, clock: FixedClock
):
    packed: list[int] = []
    for minute in range(130):
        loop.run_once()
        if "write" in packer.calls:
            packed.append(minute)
            packer.calls.clear()
        clock.pass_(seconds=60)
    assert packed == [5, 65, 125]


def test_a_whole_pack_does_not_wait(loop: PackingLoop, packer: ScriptedPacker):
    packer.waiting = MAX_PACK_LINES - 1
    loop.run_once()
    assert packer.calls == []
    packer.waiting = MAX_PACK_LINES
    loop.run_once()
    assert "write" in packer.calls


def test_a_failure_is_logged_once_and_the_next_attempt_is_a_minute_later(
    loop: PackingLoop, packer: ScriptedPacker, clock: FixedClock, capsys: pytest.CaptureFixture[str]
):
    packer.error = CorruptedError("a line is missing", fix="restore it")
    packer.waiting = MAX_PACK_LINES
    for _ in range(4):
        loop.run_once()
        clock.pass_(seconds=31)
    assert packer.calls.count("write") == 2
    assert (loop.problem, capsys.readouterr().err.count("a line is missing")) == ("a line is missing", 1)
    packer.error = None
    clock.pass_(seconds=60)
    loop.run_once()
    assert (loop.problem, packer.calls[-1]) == ("", "release 300")


def test_a_full_disk_is_an_error_that_says_so(loop: PackingLoop, packer: ScriptedPacker):
    packer.error = OSError(28, "No space left on device")
    with pytest.raises(Unavailable, match="No space left"):
        loop.pack()
    assert packer.calls == ["integrate", "write"]


def test_the_thread_ends_with_its_event(loop: PackingLoop):
    stop = threading.Event()
    stop.set()
    loop.run(stop)

"""The loop integrates what is durable, at a fixed cadence when idle, and again after an outage of the witness."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.errors import CorruptedError, Unavailable
from wellspring.sequencer.integration import FIRST_RETRY, LAST_RETRY, IntegrationLoop
from wellspring.sequencer.journal_scan import JournalScan
from wellspring.trust.ledger.cosigner import CosignResponse

CADENCE = timedelta(seconds=60)


class SwitchedWitness:
    """A witness that can be switched off."""

    def __init__(self, ledger: Ledger) -> None:
        self.is_up = True
        self.requests = 0
        self._witness = ledger.witness

    def verifier_key(self) -> str:
        return self._witness.verifier_key()

    def add_key(self, note: bytes) -> CosignResponse:
        return self._witness.add_key(note)

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
        self.requests += 1
        if not self.is_up:
            raise Unavailable("the witness does not respond", fix="run `wellspring up`")
        return self._witness.add_checkpoint(old, proof, note)


class LoopHarness:
    """A loop over a ledger in a folder, with a witness that can be switched off."""

    def __init__(self, folder: Path) -> None:
        self.witness = SwitchedWitness(Ledger(folder))
        self.ledger = Ledger(folder, witness=self.witness)
        self.recorded: list[str] = []
        self.loop = IntegrationLoop(
            self.ledger.sequencer,
            journals=self.ledger.journals,
            index=self.ledger.index,
            clock=self.ledger.clock,
            scan=JournalScan(self.ledger.journals, folder / "ledger"),
            record_finding=lambda service, finding: self.recorded.append(service),
            record_heartbeat=lambda: self._write_heartbeat(),
            heartbeat_interval=CADENCE,
        )

    def _write_heartbeat(self) -> None:
        self.ledger.write(1, "sequencer", "journal:sequencer", "heartbeat")

    @property
    def size(self) -> int:
        return self.ledger.tree.size


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LoopHarness]:
    item = LoopHarness(tmp_path)
    yield item
    item.ledger.close()


def test_a_journal_that_has_grown_is_integrated_without_a_request(harness: LoopHarness):
    harness.loop.run_once()
    harness.ledger.write(3, "api")
    harness.loop.run_once()
    assert harness.size == 3
    assert harness.ledger.index.last_sequence("api") == 2
    requests = harness.witness.requests
    harness.loop.run_once()
    harness.loop.run_once()
    assert harness.witness.requests == requests


def test_an_idle_log_gets_a_checkpoint_at_its_cadence(harness: LoopHarness):
    harness.ledger.write(1)
    harness.loop.run_once()
    for number in range(1, 4):
        harness.ledger.clock.pass_(seconds=59)
        harness.loop.run_once()
        assert harness.size == number
        harness.ledger.clock.pass_(seconds=1)
        harness.loop.run_once()
        assert harness.size == number + 1
        harness.loop.run_once()
    # After the clock was set back by an hour, the log is not without a checkpoint for an hour.
    harness.ledger.clock.pass_(hours=-1)
    harness.loop.run_once()
    assert harness.size == 5


def test_without_the_witness_the_lines_wait_and_the_attempts_become_rarer(
    harness: LoopHarness, capfd: pytest.CaptureFixture[str]
):
    harness.ledger.write(1)
    harness.loop.run_once()
    harness.witness.is_up = False
    harness.ledger.write(4)
    before = harness.witness.requests
    for _ in range(600):
        harness.loop.run_once()
        harness.ledger.clock.pass_(seconds=1)
    attempts = harness.witness.requests - before
    assert 600 / LAST_RETRY.total_seconds() <= attempts < 40
    status = harness.loop.read_status()
    assert (status.size, status.pending, status.problem) == (1, 4, "the witness does not respond")
    harness.witness.is_up = True
    harness.ledger.clock.pass_(seconds=LAST_RETRY.total_seconds())
    harness.loop.run_once()
    assert harness.size == 5
    assert harness.loop.read_status()[2:] == (0, "")
    log = capfd.readouterr().err
    assert (log.count("the witness does not respond"), log.count("the log grows again")) == (1, 1)


def test_a_request_does_not_wait_for_the_back_off(harness: LoopHarness):
    harness.ledger.write(1)
    harness.witness.is_up = False
    harness.loop.run_once()
    harness.witness.is_up = True
    harness.ledger.clock.pass_(seconds=FIRST_RETRY.total_seconds() / 2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(harness.loop.integrate_for, "worker")
        while not waiting.done():
            harness.loop.run_once()
        assert waiting.result().size == 1


def test_each_caller_gets_a_checkpoint_that_covers_its_entry(harness: LoopHarness):
    stop = threading.Event()
    runner = threading.Thread(target=harness.loop.run, args=(stop,))
    runner.start()
    harness.ledger.journal()

    def append_and_integrate(_: int) -> bool:
        (entry,) = harness.ledger.write(1)
        checkpoint = harness.loop.integrate_for("worker")
        return harness.ledger.index.last_sequence("worker") >= entry.sequence and checkpoint.size > entry.sequence

    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(append_and_integrate, range(40)))
    finally:
        stop.set()
        runner.join()
    assert harness.size == 40
    with pytest.raises(Unavailable, match="has stopped"):
        harness.loop.integrate_for("worker")


def test_an_error_reaches_each_caller(harness: LoopHarness):
    harness.ledger.write(1)
    harness.witness.is_up = False
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(harness.loop.integrate_for, "worker") for _ in range(2)]
        while not all(request.done() for request in waiting):
            harness.loop.run_once()
    for request in waiting:
        with pytest.raises(Unavailable, match="the witness does not respond"):
            request.result()


def test_a_damaged_journal_stops_the_log_of_its_service_only(harness: LoopHarness):
    harness.ledger.write(2, "api")
    harness.ledger.close()
    file = harness.ledger.journals / "api" / "000000000000.log"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1].replace(b'"n":1', b'"n": 1'))
    harness.ledger.write(3, "worker")
    harness.loop.run_once()
    assert harness.size == 4
    assert "line 1 of the journal of api" in harness.loop.read_status().problem
    with ThreadPoolExecutor(2) as pool:
        worker, api = (pool.submit(harness.loop.integrate_for, service) for service in ("worker", "api"))
        while not (worker.done() and api.done()):
            harness.loop.run_once()
    assert worker.result().size == 4
    with pytest.raises(CorruptedError, match="line 1 of the journal of api"):
        api.result()


def test_lines_that_vanish_are_recorded_once_and_stop_the_log_of_their_service(harness: LoopHarness):
    harness.ledger.write(2, "worker")
    harness.loop.run_once()
    harness.witness.is_up = False
    harness.ledger.write(3, "api")
    harness.loop.run_once()
    harness.ledger.close()
    file = harness.ledger.journals / "api" / "000000000000.log"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:1]))
    harness.witness.is_up = True
    harness.ledger.write(1, "worker")
    for _ in range(3):
        harness.ledger.clock.pass_(seconds=LAST_RETRY.total_seconds())
        harness.loop.run_once()
    assert harness.recorded == ["api"]
    assert "the journal of api lacks entry 1" in harness.loop.read_status().problem
    assert harness.ledger.index.last_sequence("worker") == 2

"""The loop of the sequencer: what is durable in the journals is soon in the signed log, asked for or not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from wellspring.errors import CorruptedError, Unavailable, WellspringError, format_error
from wellspring.records.clock import Clock
from wellspring.records.record import format_instant
from wellspring.sequencer.journal_scan import JournalScan
from wellspring.sequencer.journal_watch import JournalWatch
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.remote_sequencer import SequencerStatus
from wellspring.trust.ledger.sequencer import IntegrationReport, Sequencer
from wellspring.trust.ledger.tree import SignedCheckpoint

POLL_SECONDS = 0.5
FIRST_RETRY, LAST_RETRY = timedelta(seconds=1), timedelta(seconds=30)
"""Time until the next attempt after a failure; it doubles with each further failure, up to the second value."""


class LogKeyRotation(Protocol):
    """Rotates the key of the log (`key_rotation`)."""

    def is_due(self, now: datetime) -> bool: ...

    def rotate(self, size: int) -> str: ...

    def recover(self, size: int) -> None: ...


class _WaitingRequest:
    """A caller that waits for the log to hold what is durable now. service: whose journal must be without a finding."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.future: Future[SignedCheckpoint] = Future()


class IntegrationLoop:
    """Integrates when a journal has grown, when a caller waits, and at a fixed cadence when nothing happens.

    One thread calls `run`; the other methods are for any thread. scan: compares the journals with what was seen before.
    record_finding: writes an entry about the journal of a service, once when the finding begins. record_heartbeat:
    writes an entry into the sequencer's own journal, so that a tree in which nothing else happens grows too.
    heartbeat_interval: between two checkpoints.

    While the signer or the witness does not respond, the lines stay in the journals, and the attempts become rarer. A
    problem is logged when it begins and when it ends.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        journals: Path,
        index: LedgerIndex,
        clock: Clock,
        scan: JournalScan,
        record_finding: Callable[[str, CorruptedError], None],
        record_heartbeat: Callable[[], None],
        heartbeat_interval: timedelta,
        rotation: LogKeyRotation | None = None,
    ) -> None:
        self._sequencer = sequencer
        self._journals = journals
        self._index = index
        self._clock = clock
        self._scan = scan
        self._record_finding = record_finding
        self._record_heartbeat = record_heartbeat
        self._heartbeat_interval = heartbeat_interval
        self._rotation = rotation
        self._rotations: list[Future[str]] = []
        self._is_recovered = False
        self._watch = JournalWatch(journals)
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[_WaitingRequest] = []
        self._is_closed = False
        self._is_behind = False
        self._attempted_at = self._checkpoint_at = clock.now()
        self._retry_delay = timedelta(0)
        self._checkpoint: SignedCheckpoint | None = None
        self._problem = ""
        self._findings: dict[str, CorruptedError] = {}

    def run(self, stop: threading.Event) -> None:
        """Integrate until the event is set, then once more; refuse the callers that still wait."""
        while not stop.is_set():
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            self.run_once()
        self._retry_delay = timedelta(0)
        self.run_once()
        with self._lock:
            self._is_closed = True
            rotations, self._rotations = self._rotations, []
        for request in self._take_waiting():
            request.future.set_exception(_stopped_error())
        for future in rotations:
            future.set_exception(_stopped_error())

    def run_once(self) -> None:
        """Integrate if a caller waits, if a journal has grown and no back-off runs, or if a heartbeat is due."""
        waiting = self._take_waiting()
        if self._watch.has_grown():
            self._is_behind = True
        now = self._clock.now()
        # Absolute differences: after the clock was set back, the next checkpoint is not hours away.
        is_heartbeat_due = not self._is_behind and abs(now - self._checkpoint_at) >= self._heartbeat_interval
        if waiting or is_heartbeat_due or (self._is_behind and abs(now - self._attempted_at) >= self._retry_delay):
            self._integrate(waiting, is_heartbeat_due)
        self._rotate_key(now)

    def rotate_key(self) -> str:
        """Have the log's key followed by a new one, and return it. Raises the error that prevented it."""
        future: Future[str] = Future()
        with self._lock:
            if self._is_closed:
                raise _stopped_error()
            self._rotations.append(future)
        self._wake.set()
        return future.result()

    def integrate_for(self, service: str) -> SignedCheckpoint:
        """Wait until the log holds everything that is durable in the journals at this call, and return its checkpoint.

        Raises the error that stopped the integration, or the finding about the journal of this service.
        """
        request = _WaitingRequest(service)
        with self._lock:
            if self._is_closed:
                raise _stopped_error()
            self._waiting.append(request)
        self._wake.set()
        return request.future.result()

    def read_status(self) -> SequencerStatus:
        """Return what was done last, and how many durable lines wait."""
        pending = (
            journal.count_lines(self._journals, service) - 1 - self._index.last_sequence(service)
            for service in journal.list_services(self._journals)
        )
        return SequencerStatus(
            size=self._checkpoint.size if self._checkpoint else 0,
            checkpoint_at=format_instant(self._checkpoint_at) if self._checkpoint else "",
            pending=sum(max(0, count) for count in pending),
            problem=self._problem,
        )

    def _rotate_key(self, now: datetime) -> None:
        """Rotate the key if a caller waits or it is due, between two integrations: its size is that of the log."""
        with self._lock:
            rotations, self._rotations = self._rotations, []
        if self._rotation is None or self._checkpoint is None:
            for future in rotations:
                future.set_exception(Unavailable("the log has no checkpoint yet", fix="try again in a moment"))
            return
        try:
            if not self._is_recovered:
                self._rotation.recover(self._checkpoint.size)
                self._is_recovered = True
            if not rotations and not self._rotation.is_due(now):
                return
            key = self._rotation.rotate(self._checkpoint.size)
        except (WellspringError, OSError) as failure:
            exc = failure if isinstance(failure, WellspringError) else _write_error(failure)
            self._note_problem(exc)
            for future in rotations:
                future.set_exception(exc)
            return
        for future in rotations:
            future.set_result(key)

    def _take_waiting(self) -> list[_WaitingRequest]:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting

    def _integrate(self, waiting: Sequence[_WaitingRequest], is_heartbeat_due: bool) -> None:
        self._attempted_at = self._clock.now()
        try:
            if is_heartbeat_due:
                self._record_heartbeat()
            differences = self._scan.find_differences()
            report = self._sequencer.integrate_all(differences)
            report = report._replace(findings={**report.findings, **differences})
            for service in report.findings.keys() - self._findings.keys():
                self._record_finding(service, report.findings[service])
            self._findings = dict(report.findings)
        except WellspringError as exc:
            self._fail_attempt(exc, waiting)
        except OSError as exc:
            self._fail_attempt(_write_error(exc), waiting)
        else:
            self._finish_attempt(report, waiting)

    def _fail_attempt(self, error: WellspringError, waiting: Sequence[_WaitingRequest]) -> None:
        self._is_behind = True
        self._retry_delay = min(LAST_RETRY, self._retry_delay * 2) if self._retry_delay else FIRST_RETRY
        self._note_problem(error)
        for request in waiting:
            request.future.set_exception(error)

    def _finish_attempt(self, report: IntegrationReport, waiting: Sequence[_WaitingRequest]) -> None:
        self._is_behind, self._retry_delay = False, timedelta(0)
        if self._checkpoint is None or self._checkpoint.size != report.checkpoint.size:
            self._checkpoint, self._checkpoint_at = report.checkpoint, self._clock.now()
        self._note_problem(next(iter(report.findings.values()), None))
        for request in waiting:
            if finding := report.findings.get(request.service):
                request.future.set_exception(finding)
            else:
                request.future.set_result(report.checkpoint)

    def _note_problem(self, error: WellspringError | None) -> None:
        problem = error.what if error else ""
        if problem != self._problem and error is not None:
            print(format_error(error.slug, error.what, error.fix), file=sys.stderr)
        elif problem != self._problem:
            print("the log grows again", file=sys.stderr)
        self._problem = problem


def _write_error(exc: OSError) -> Unavailable:
    return Unavailable(f"the ledger cannot be written ({exc.strerror})", fix="free the disk")


def _stopped_error() -> Unavailable:
    return Unavailable("the sequencer has stopped", fix="run `wellspring up`")

"""The dispatcher: starts the queued jobs whose resources are free, and decides what follows the end of each attempt."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable, WellspringError, encode_error
from wellspring.records.clock import Clock
from wellspring.records.jobs import Job, JobEvent
from wellspring.runtime.process import Credential
from wellspring.settings import WorkerSettings
from wellspring.worker.job_attempt import AttemptOutcome, JobAttempt
from wellspring.worker.job_kinds import JOB_KINDS
from wellspring.worker.job_process import JobAssignment
from wellspring.worker.job_service import JobService
from wellspring.worker.warm_client import START_TIMEOUT, WarmClient

MAX_BACKOFF = timedelta(minutes=5)
_FIRST_BACKOFF = timedelta(seconds=5)
_IDLE_SECONDS = 60.0
_REPEAT_SECONDS = 5.0


class UnsavedEnd(NamedTuple):
    """The end of an attempt that the queue could not write yet."""

    job: Job
    outcome: AttemptOutcome


class Dispatcher:
    """Runs the jobs of one queue. Its loop runs in the main thread; each running job has a thread of its own.

    journals: the journals that attempts write, one for each job that may run at a time. The last one is kept for acts
    of persons, so that a rollback does not wait for a slot. start_warm_server: starts one in the calling thread.
    crash_point: kills the worker in crash tests.
    """

    def __init__(
        self,
        service: JobService,
        journals: Sequence[str],
        settings: WorkerSettings,
        *,
        start_warm_server: Callable[[], WarmClient],
        request_credential: Callable[[], Credential],
        crash_point: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._service = service
        self._settings = settings
        self._free_slots = list(journals)
        self._start_warm_server = start_warm_server
        self._request_credential = request_credential
        self._crash_point = crash_point
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, JobAttempt] = {}
        self._threads: list[threading.Thread] = []
        self._unsaved: list[UnsavedEnd] = []
        self._stopping = False
        self._warm: WarmClient | None = None
        self._warm_changed = threading.Condition()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        """Let the loop look at the queue. Safe in a signal handler."""
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def request_stop(self) -> None:
        """End the loop. Safe in a signal handler."""
        self._stopping = True
        self.wake()

    def run_until_stopped(self) -> None:
        """Dispatch jobs until `request_stop`; then end the running ones, which the next start repeats."""
        warm = self._replace_warm_server()
        try:
            self.resume_interrupted()
            while not self._stopping:
                if not warm.is_alive():
                    warm.close()
                    warm = self._replace_warm_server()
                self._save_ends()
                self._cancel_requested()
                self._start_due_jobs(warm)
                select.select([self._wake_reader], [], [], self._seconds_to_wait())
                with suppress(BlockingIOError):
                    os.read(self._wake_reader, 65536)
        finally:
            self._stopping = True
            warm.close()
            for thread in self._threads:
                thread.join()
            self._save_ends()

    def find_warm_server(self) -> WarmClient:
        """Return the warm server, after its end the next one. Safe for threads. Raises Unavailable if none starts."""
        with self._warm_changed:
            self._warm_changed.wait_for(lambda: self._warm is not None and self._warm.is_alive(), START_TIMEOUT)
            if self._warm is None:
                raise Unavailable("the warm server of the worker did not start", fix="read .wellspring/logs/worker.log")
            return self._warm

    def _replace_warm_server(self) -> WarmClient:
        warm = self._start_warm_server()
        with self._warm_changed:
            self._warm = warm
            self._warm_changed.notify_all()
        return warm

    def resume_interrupted(self) -> None:
        """Queue again what ran when the worker was killed; end what cannot be repeated."""
        for job in self._service.queue.list_jobs(("running",)):
            if job.requested_cancel:
                self._service.end_job(job, "cancelled", error=_encode_refusal("the job was cancelled"))
            else:
                self._repeat_job(job, _encode_interruption(job), delay=None)

    def _seconds_to_wait(self) -> float:
        if self._unsaved:
            return _REPEAT_SECONDS
        now = self._clock.now()
        waits = [
            (job.not_before - now).total_seconds()
            for job in self._service.queue.list_queued()
            if job.not_before is not None and not is_due(job, now)
        ]
        return max(0.05, min([*waits, _IDLE_SECONDS]))

    def _start_due_jobs(self, warm: WarmClient) -> None:
        with self._lock:
            running = [attempt.job for attempt in self._running.values()]
        for job in select_runnable(self._service.queue.list_queued(), running, self._clock.now()):
            is_personal = job.kind in JOB_KINDS and JOB_KINDS[job.kind].note_kind is not None
            with self._lock:
                if len(self._free_slots) <= (0 if is_personal else 1):
                    continue
                journal = self._free_slots.pop(0)
            self._start_job(warm, job, journal)

    def _start_job(self, warm: WarmClient, queued_job: Job, journal: str) -> None:
        try:
            job = self._service.queue.update_job(
                queued_job.id,
                ("queued",),
                state="running",
                attempts=queued_job.attempts + 1,
                started_at=self._clock.now(),
                not_before=None,
                error=None,
            )
        except (Refused, Unavailable):
            # It was cancelled in between, or the disk is full: a later pass decides.
            with self._lock:
                self._free_slots.insert(0, journal)
            return
        self._crash_point("worker.start:running")

        def on_progress(stage: str, done: int, total: int) -> None:
            event = JobEvent(
                at=self._clock.now(), attempt=job.attempts, event="progress", stage=stage, done=done, total=total
            )
            self._service.log.append_event(job.id, event)

        attempt = JobAttempt(warm, job, on_progress)
        with self._lock:
            self._running[job.id] = attempt
        self._service.log.append_event(job.id, JobEvent(at=self._clock.now(), attempt=job.attempts, event="started"))
        thread = threading.Thread(target=self._run_job, args=(attempt, journal), name=f"job {job.id}", daemon=True)
        self._threads = [item for item in self._threads if item.is_alive()] + [thread]
        thread.start()

    def _run_job(self, attempt: JobAttempt, journal: str) -> None:
        job = attempt.job
        crash_at = self._service.find_crash_point(job.id) if job.attempts == 1 else None
        try:
            assignment = JobAssignment(
                job=job,
                credential=self._request_credential(),
                journal=journal,
                memory_bytes=self._settings.memory_mb * 2**20,
                crash_at=crash_at,
            )
            outcome = attempt.run_attempt(assignment)
        except WellspringError as exc:
            # It did not start because the worker stops or its warm server ended, so it is repeated.
            was_lost = isinstance(exc, Unavailable) and (self._stopping or not attempt.has_warm_server())
            outcome = AttemptOutcome(error=encode_error(exc), was_lost=was_lost)
        self._crash_point("worker.end:unsaved")
        with self._lock:
            self._unsaved.append(UnsavedEnd(job, outcome))
        self._save_ends()
        with self._lock:
            del self._running[job.id]
            self._free_slots.append(journal)
        self.wake()

    def _save_ends(self) -> None:
        """Write the ends of attempts to the queue; keep those that it cannot write now."""
        with self._lock:
            ends, self._unsaved = self._unsaved, []
        for end in ends:
            try:
                self._save_end(end.job, end.outcome)
            except Unavailable:
                with self._lock:
                    self._unsaved.append(end)

    def _save_end(self, job: Job, outcome: AttemptOutcome) -> None:
        service, error = self._service, outcome.error
        is_cancelled = service.queue.get_job(job.id).requested_cancel and (outcome.was_killed or outcome.was_lost)
        if error is None:
            service.end_job(job, "succeeded", result=outcome.value)
        elif is_cancelled:
            service.end_job(job, "cancelled", error=_encode_refusal(f"the job {job.id} was cancelled"))
        elif outcome.was_lost:
            self._repeat_job(job, error, delay=None)
        elif job.retries and (outcome.was_killed or error["slug"] == Unavailable.slug):
            self._repeat_job(job, error, delay=min(_FIRST_BACKOFF * 2 ** (job.attempts - 1), MAX_BACKOFF))
        else:
            service.end_job(job, "refused" if error["slug"] == Refused.slug else "failed", error=error)

    def _repeat_job(self, job: Job, error: dict[str, JsonValue], *, delay: timedelta | None) -> None:
        """Queue a job again after an attempt, or end it when it has no attempt left."""
        if job.attempts >= job.attempt_limit:
            self._service.end_job(job, "failed", error=error)
            return
        not_before = None if delay is None else self._clock.now() + delay
        self._service.queue.update_job(job.id, ("running",), state="queued", not_before=not_before, error=error)
        self._service.log.append_event(
            job.id,
            JobEvent(at=self._clock.now(), attempt=job.attempts, event="stopped", message=str(error["what"])),
        )

    def _cancel_requested(self) -> None:
        for job in self._service.queue.list_jobs(("running",)):
            with self._lock:
                attempt = self._running.get(job.id)
            if job.requested_cancel and attempt is not None:
                # In a thread: it waits some seconds before it kills.
                threading.Thread(target=attempt.cancel_attempt, name=f"cancel {job.id}", daemon=True).start()


def select_runnable(queued: Iterable[Job], running: Iterable[Job], now: datetime) -> list[Job]:
    """Select the jobs that may start, in order: due, and without a resource of a running job or of an earlier one.

    A job that waits for a resource keeps later jobs from its other resources, so that it cannot wait for ever.
    """
    taken = {name for job in running for name in job.resources}
    runnable: list[Job] = []
    for job in queued:
        if not is_due(job, now):
            continue
        if taken.isdisjoint(job.resources):
            runnable.append(job)
        taken.update(job.resources)
    return runnable


def is_due(job: Job, now: datetime) -> bool:
    """Return whether the back-off of a job is over. After the clock was set back it lasts at most its maximum."""
    return job.not_before is None or job.not_before <= now or job.not_before - now > MAX_BACKOFF


def _encode_refusal(what: str) -> dict[str, JsonValue]:
    return encode_error(Refused(what, fix="start it again with `wellspring job retry ID`"))


def _encode_interruption(job: Job) -> dict[str, JsonValue]:
    return encode_error(
        WellspringError(
            f"the worker ended {job.attempts} times while it ran this job",
            fix="read .wellspring/logs/worker.log, then run `wellspring job retry ID`",
        )
    )

"""Submission, listing, cancellation and repetition of jobs: what the clients of the worker may request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from wellspring.errors import Refused, encode_error
from wellspring.project import Project, load_project
from wellspring.records.clock import Clock
from wellspring.records.jobs import OPEN_STATES, Job, JobEvent, JobState
from wellspring.records.observe import Recorder
from wellspring.stores.queue.port import JobQueue
from wellspring.trust import user_notes
from wellspring.trust.dlp.registry import load_scanner
from wellspring.worker.act_authorizer import ActAuthorizer
from wellspring.worker.job_kinds import find_job_kind, require_known_parameters
from wellspring.worker.job_log import JobLog
from wellspring.worker.job_parameters import check_parameters, refuse_personal_data
from wellspring.worker.job_policy import evaluate_job, record_refusal

MAX_KEPT_JOBS = 10_000
"""Number of ended jobs that the queue keeps; the ledger keeps what they did."""


class JobSubmission(NamedTuple):
    """What a client submits. run: its idempotency key; '' for a new one.

    is_interactive: a command waits for the job, so the first error ends it. trace: of the caller; a new one begins
    unless it has 32 hex digits. crash_at: see `open_recorder`.
    """

    kind: str
    subject: str
    parameters: dict[str, JsonValue]
    run: str
    is_interactive: bool
    priority: int
    trace: str
    crash_at: str | None


class JobService:
    """The jobs of one project. Safe for threads.

    on_change: called when the dispatcher should look at the queue. ended_jobs: how many have ended since the start.
    """

    def __init__(
        self,
        project: Project,
        queue: JobQueue,
        log: JobLog,
        *,
        acts: ActAuthorizer,
        step: Recorder,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.queue = queue
        self.log = log
        self._project = project
        self._acts = acts
        self._step = step
        self._clock = clock
        self._on_change = on_change
        self._crash_points: dict[str, str | None] = {}
        self.ended_jobs = 0

    def submit_job(self, submission: JobSubmission, principal: str) -> Job:
        """Queue a job durably and return it; the earlier job if its run id was submitted with the same content.

        Raises Refused for a kind or an act that the policies refuse, and for an act whose note has no valid signature
        of its author (both recorded); for a secret or personal data in it, and for a run id that was submitted with
        other content; NotFound for an unknown kind, and for a parameter that the kind does not read; Unavailable when
        the queue is not writable.
        """
        with self._step.continue_trace(submission.trace) as trace:
            return self._submit_traced(submission, principal, trace)

    def _submit_traced(self, submission: JobSubmission, principal: str, trace: str) -> Job:
        kind, project = find_job_kind(submission.kind), load_project(self._project.root, environ={}, sources=False)
        check_parameters(submission.parameters)
        require_known_parameters(submission.kind, submission.parameters)
        named = {"subject": submission.subject, "run id": submission.run, **submission.parameters}
        refuse_personal_data(named, load_scanner(project))
        note = None
        if kind.note_kind is not None:
            note = user_notes.parse_note(submission.parameters.get("note"), kind.note_kind)
            principal = f"user:{note.user}"
        job_id = secrets.token_hex(6)
        try:
            job = Job(
                tenant=project.tenant,
                known_since=self._clock.now(),
                id=job_id,
                run=submission.run or f"job-{job_id}",
                kind=submission.kind,
                subject=submission.subject,
                parameters=submission.parameters,
                principal=principal,
                note_digest=user_notes.compute_note_digest(note) if note is not None else "",
                resources=tuple(sorted(kind.list_resources(project, submission.subject))),
                priority=submission.priority,
                attempt_limit=kind.attempt_limit,
                retries=not submission.is_interactive,
                trace=trace,
            )
        except ValidationError as exc:
            fields = ", ".join(sorted({str(error["loc"][0]) for error in exc.errors()}))
            raise Refused(f"the job is not valid: {fields}", fix="see `wellspring run --help`") from None
        if kind.action == "ingest":
            project.require_source(submission.subject)
        if note is not None:
            self._acts.authorize_job(project, job, note)
        elif not evaluate_job(project, job).passed:
            record_refusal(project, job, step=self._step)
        # Before the job is visible to the dispatcher.
        self._crash_points[job_id] = submission.crash_at
        stored_id = ""
        try:
            stored = self.queue.submit(job)
            stored_id = stored.id
        finally:
            if stored_id != job_id:
                del self._crash_points[job_id]
        self._step.crash_point("worker.submit:queued")
        self._on_change()
        return stored

    def list_jobs(self, states: frozenset[JobState] | None, limit: int) -> list[Job]:
        """List the newest jobs in these states, oldest first."""
        return self.queue.list_jobs(states, limit=limit)

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a queued job at once, and let a running one end. Raises NotFound, Refused if it has ended."""
        job = self.queue.get_job(job_id)
        if job.state == "queued":
            job = self.end_job(job, "cancelled", error=_encode_cancellation(job))
        else:
            job = self.queue.update_job(job_id, ("running",), requested_cancel=True)
        self._on_change()
        return job

    def retry_job(self, job_id: str) -> Job:
        """Queue a job again that failed or was cancelled or refused. Raises NotFound, Refused."""
        retried = self.queue.update_job(
            job_id,
            ("failed", "cancelled", "refused"),
            state="queued",
            attempts=0,
            not_before=None,
            error=None,
            ended_at=None,
            requested_cancel=False,
        )
        self._on_change()
        return retried

    def follow_job(self, job_id: str) -> Iterator[JobEvent]:
        """Yield the events of a job until it has ended. Raises NotFound."""
        self.queue.get_job(job_id)
        return self.log.follow_events(job_id, lambda: self.queue.get_job(job_id).is_ended)

    def end_job(self, job: Job, state: JobState, **changes: Any) -> Job:
        """Move an open job to its last state."""
        ended = self.queue.update_job(job.id, OPEN_STATES, state=state, ended_at=self._clock.now(), **changes)
        self._crash_points.pop(job.id, None)
        self.ended_jobs += 1
        self.log.append_event(
            job.id, JobEvent(at=self._clock.now(), attempt=ended.attempts, event="ended", message=state)
        )
        for removed in self.queue.remove_ended(MAX_KEPT_JOBS):
            self.log.remove_events(removed)
        return ended

    def find_crash_point(self, job_id: str) -> str | None:
        """Return the crash point of a job, which a restart of the worker forgets."""
        return self._crash_points.get(job_id)


def _encode_cancellation(job: Job) -> dict[str, JsonValue]:
    return encode_error(
        Refused(f"the job {job.id} was cancelled", fix=f"start it again with `wellspring job retry {job.id}`")
    )

"""Define the job: one run of a workflow by the worker, with its caller, its resources and its state."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue

from wellspring.records.record import Frozen, Instant, Record

JobState = Literal["queued", "running", "succeeded", "failed", "refused", "cancelled"]
OPEN_STATES: frozenset[JobState] = frozenset({"queued", "running"})
ENDED_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "refused", "cancelled"})
MAX_JOB_REQUEST_BYTES = 256 * 1024
"""The largest request that the worker reads from a caller: a job with its parameters, or a query."""
RUN_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$"


class Job(Record):
    """One job. known_since: when it was submitted.

    run: the idempotency key; a second submission with it returns this job. parameters: without secrets. principal: who
    submitted it (`service:owner`, `user:NAME`). note_digest: of the note that a user signed for this act, as the entry
    of the act names it; '' for another kind of job. resources: what it writes; two running jobs share none.

    priority: the highest runs first. attempts: how often it was started, at most attempt_limit. retries: whether an
    attempt that ends with Unavailable, or is killed, is repeated; False for a command that shows the error at once.
    not_before: earliest start of the next attempt, after a back-off. result: of a job that succeeded. error: encoded by
    `encode_error`.
    """

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    run: str = Field(pattern=RUN_ID_PATTERN)
    kind: str
    subject: str = ""
    parameters: dict[str, JsonValue] = {}
    principal: str
    note_digest: str = ""
    resources: tuple[str, ...] = ()
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    attempts: int = 0
    attempt_limit: Annotated[int, Field(ge=1)] = 1
    retries: bool = False
    trace: str
    state: JobState = "queued"
    not_before: Instant | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    result: JsonValue = None
    error: dict[str, JsonValue] | None = None
    requested_cancel: bool = False

    @property
    def is_ended(self) -> bool:
        """Whether no later attempt follows."""
        return self.state in ENDED_STATES

    def has_same_content(self, submission: Job) -> bool:
        """Return whether another submission asks for the same run of the same caller."""
        return (self.kind, self.subject, self.parameters, self.principal, self.tenant) == (
            submission.kind,
            submission.subject,
            submission.parameters,
            submission.principal,
            submission.tenant,
        )


class JobEvent(Frozen):
    """One line of the progress of a job: counts and names, never a value from data. at: when the worker read it."""

    at: Instant
    attempt: int
    event: Literal["started", "progress", "stopped", "ended"]
    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""


class RunIdentity(NamedTuple):
    """What each entry of a job's run names: the job, who submitted it, and its trace (32 hex digits)."""

    job: str
    principal: str
    trace: str

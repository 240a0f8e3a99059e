"""Define the queue of jobs: durable, with atomic transitions between states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from wellspring.records.jobs import Job, JobState


class JobQueue(Protocol):
    """Keep jobs. A job that is returned is durable; a full disk raises Unavailable, and loses no job."""

    def submit(self, job: Job) -> Job:
        """Add a queued job and return it; the earlier one if its run id was submitted with the same content.

        Raises Refused if the run id was submitted with other content.
        """
        ...

    def get_job(self, job_id: str) -> Job:
        """Return a job. Raises NotFound."""
        ...

    def list_jobs(self, states: Iterable[JobState] | None = None, *, limit: int | None = None) -> list[Job]:
        """List the jobs in these states (default: all), oldest submission first; limit: only the newest ones."""
        ...

    def list_queued(self) -> list[Job]:
        """List the queued jobs in the order in which they start: highest priority first, then oldest."""
        ...

    def update_job(self, job_id: str, expected: Iterable[JobState], **changes: Any) -> Job:
        """Change fields of a job that is in an expected state, and return it.

        Raises Refused, and changes nothing, if it is in another state; NotFound.
        """
        ...

    def remove_ended(self, keep: int) -> list[str]:
        """Remove the oldest ended jobs until `keep` of them are left; return their ids."""
        ...

    def close(self) -> None:
        """Close the queue. Closing again has no effect."""
        ...

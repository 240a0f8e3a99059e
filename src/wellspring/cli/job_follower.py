"""Submit a job to the worker, show its progress, and return its result; Ctrl-C asks whether the job should go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from wellspring.cli.context import program_name
from wellspring.cli.trace import get_command_trace
from wellspring.embedded import job_client
from wellspring.errors import WellspringError, decode_error
from wellspring.project import Project
from wellspring.records.jobs import Job, JobEvent


def run_job(
    project: Project,
    kind: str,
    subject: str = "",
    *,
    params: dict[str, Any] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Any:
    """Submit a job, follow it and return its result. Its first error ends it, and is raised here."""
    job = job_client.submit_job(
        project,
        kind,
        subject,
        parameters=params or {},
        is_interactive=True,
        trace=get_command_trace(),
        crash_at=project.crash_at,
    )
    return read_result(follow_job(project, job, on_progress=on_progress))


def follow_job(project: Project, job: Job, *, on_progress: Callable[[str, int, int], None] | None = None) -> Job:
    """Show the progress of a job until it has ended, and return it. Ctrl-C asks once what to do with the job."""

    def on_event(event: JobEvent) -> None:
        if event.event == "progress" and on_progress is not None:
            on_progress(event.stage, event.done, event.total)

    try:
        return job_client.follow_job(project, job.id, on_event)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and click.confirm(f"\ncancel the job {job.id}?", default=False, err=True):
            job_client.send_job_request(project, {"op": "cancel", "id": job.id})
            return job_client.follow_job(project, job.id, on_event)
        click.echo(f"the job goes on: {program_name()} job follow {job.id}", err=True)
        raise click.Abort from None


def read_result(job: Job) -> Any:
    """Return the result of a job that has ended. Raises its error."""
    if job.state == "succeeded":
        return job.result
    if job.error is None:
        raise WellspringError(f"the job {job.id} is {job.state}", fix=f"see `wellspring job show {job.id}`")
    raise decode_error(job.error)

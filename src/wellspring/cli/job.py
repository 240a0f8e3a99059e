"""The commands `job` (list, show, follow, cancel, retry) and `run`: the worker's queue of jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import progress_bar
from wellspring.cli.trace import get_command_trace
from wellspring.records.jobs import Job
from wellspring.records.record import format_instant
from wellspring.runtime.simulated_clock import open_clock

_COLUMNS = ("job", "kind", "subject", "state", "attempts", "by", "submitted", "run")


@click.group(cls=LazyGroup)
def job() -> None:
    """List, show, follow, cancel and repeat the jobs of the worker."""


@job.command("list")
@click.option("--all", "include_all", is_flag=True, help="Also list jobs that have ended.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, help="List at most the newest LIMIT jobs.")
@click.pass_obj
def list_jobs(ctx: CliContext, include_all: bool, limit: int) -> int:
    """List the jobs that wait or run; with --all also those that have ended. The worker may be down."""
    from wellspring.bootstrap.job_ports import open_job_queue
    from wellspring.embedded import job_client
    from wellspring.records.jobs import OPEN_STATES

    project = ctx.load_project()
    states = None if include_all else sorted(OPEN_STATES)
    if job_client.is_worker_alive(project):
        response = job_client.send_job_request(project, {"op": "list", "states": states, "limit": limit})
        jobs = [Job.model_validate(item) for item in response["jobs"]]
    elif (project.jobs_dir / "queue.sqlite").exists():
        queue = open_job_queue(project, read_only=True)
        jobs = queue.list_jobs(None if include_all else OPEN_STATES, limit=limit)
        queue.close()
    else:
        jobs = []
    if jobs:
        ctx.echo_table(_COLUMNS, [_job_row(item) for item in jobs])
        if len(jobs) == limit:
            ctx.echo(f"these are the newest {limit}; there may be more: --limit N lists N")
    else:
        ctx.echo("no job" if include_all else "no job waits or runs; --all lists those that have ended")
    command = f"wellspring job show {jobs[-1].id}" if jobs else "wellspring ingest"
    ctx.print_result([item.model_dump(mode="json") for item in jobs], next_command=command)
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def show(ctx: CliContext, job_id: str) -> int:
    """Show the job ID: its caller, resources, state, attempts, and its result or error."""
    from wellspring.bootstrap.job_ports import open_job_queue
    from wellspring.embedded import job_client

    project = ctx.load_project()
    if job_client.is_worker_alive(project):
        item = Job.model_validate(job_client.send_job_request(project, {"op": "show", "id": job_id})["job"])
    else:
        queue = open_job_queue(project, read_only=True)
        item = queue.get_job(job_id)
        queue.close()
    document = item.model_dump(mode="json")
    ctx.echo_table(
        ("field", "value"),
        [
            (name, value if isinstance(value, str | int) else json.dumps(value))
            for name, value in document.items()
            if value not in (None, [], {}, "") and name != "result"
        ],
    )
    ctx.print_result(document, next_command=_next_command(item))
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def follow(ctx: CliContext, job_id: str) -> int:
    """Show the progress of the job ID until it has ended. Exit code: that of the job."""
    from wellspring.embedded import job_client

    project = ctx.load_project()
    item = Job.model_validate(job_client.send_job_request(project, {"op": "show", "id": job_id})["job"])
    return _follow_to_end(ctx, item)


@job.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def cancel(ctx: CliContext, job_id: str) -> int:
    """Cancel the job ID. A running job is ended; the next job of its kind completes what it left unfinished."""
    from wellspring.embedded import job_client

    project = ctx.load_project()
    item = Job.model_validate(job_client.send_job_request(project, {"op": "cancel", "id": job_id})["job"])
    ctx.echo(f"the job {job_id} is cancelled" if item.is_ended else f"the job {job_id} is being cancelled")
    ctx.print_result(item.model_dump(mode="json"), next_command=f"wellspring job show {job_id}")
    return 0


@job.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def retry(ctx: CliContext, job_id: str) -> int:
    """Queue the job ID again, which failed, was refused or was cancelled."""
    from wellspring.embedded import job_client

    project = ctx.load_project()
    item = Job.model_validate(job_client.send_job_request(project, {"op": "retry", "id": job_id})["job"])
    ctx.echo(f"the job {job_id} is queued again")
    ctx.print_result(item.model_dump(mode="json"), next_command=f"wellspring job follow {job_id}")
    return 0


@click.command("run")
@click.argument("kind", metavar="JOB")
@click.argument("subject", default="")
@click.option("--run", "run_id", default="", metavar="RUN", help="The idempotency key: two calls with it are one job.")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, help="The highest starts first. Default: 0.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A further input of the job.")
@click.option("--no-wait", is_flag=True, help="Print the job and return at once.")
@click.pass_obj
def run_job_command(
    ctx: CliContext, kind: str, subject: str, run_id: str, priority: int, params: tuple[str, ...], no_wait: bool
) -> int:
    """Submit a JOB (ingest, transform, train, prove ...) about SUBJECT, follow it, and exit with its exit code.

    JOB may also be the name of a job of the plan, without SUBJECT. The worker repeats it after a crash, and while a
    server is unavailable.
    """
    from wellspring.embedded import job_client
    from wellspring.runtime.git import read_revision

    project = ctx.load_project()
    planned = project.jobs.get(kind) if not subject else None
    if planned is not None:
        run_id = run_id or f"{kind}@{format_instant(open_clock(project).now())}"
        kind, subject = planned.kind, planned.subject
    parameters: dict[str, Any] = _parse_parameters(params)
    if kind in {"train", "train-draft"}:
        parameters["revision"] = read_revision(project.root)._asdict()
    item = job_client.submit_job(
        project,
        kind,
        subject,
        parameters=parameters,
        run=run_id,
        priority=priority,
        trace=get_command_trace(),
        crash_at=project.crash_at,
    )
    ctx.echo(f"job {item.id} ({item.run}) is {item.state}")
    if no_wait:
        ctx.print_result(item.model_dump(mode="json"), next_command=f"wellspring job follow {item.id}")
        return 0
    return _follow_to_end(ctx, item)


def _follow_to_end(ctx: CliContext, item: Job) -> int:
    from wellspring.cli.job_follower import follow_job, read_result

    with progress_bar(enabled=not ctx.as_json) as draw:
        ended = follow_job(ctx.load_project(), item, on_progress=draw)
    read_result(ended)
    ctx.echo(f"the job {ended.id} has succeeded, after {ended.attempts} attempts")
    ctx.print_result(ended.model_dump(mode="json"), next_command=f"wellspring job show {ended.id}")
    return 0


def _parse_parameters(params: Sequence[str]) -> dict[str, str]:
    # The errors repeat no argument: it could be an identifier.
    parameters: dict[str, str] = {}
    for number, text in enumerate(params, start=1):
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--param number {number} is not NAME=VALUE")
        if name in parameters:
            raise click.UsageError(f"--param number {number} names a parameter a second time")
        parameters[name] = value
    return parameters


def _job_row(item: Job) -> tuple[object, ...]:
    submitted = item.known_since.strftime("%Y-%m-%d %H:%M:%S")
    return (item.id, item.kind, item.subject, item.state, item.attempts, item.principal, submitted, item.run)


def _next_command(item: Job) -> str:
    if not item.is_ended:
        return f"wellspring job follow {item.id}"
    return "wellspring job list" if item.state == "succeeded" else f"wellspring job retry {item.id}"

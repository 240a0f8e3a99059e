"""The plan: which jobs run when, after what and until when, as data from the `[jobs]` tables of wellspring.toml.

Whoever executes it (the worker, or another orchestrator) submits the same jobs: the plan decides, and has no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from wellspring.errors import ProjectError, suggest_name
from wellspring.project import Project
from wellspring.records.record import format_instant
from wellspring.settings import JobSettings, parse_schedule

MAX_MISSED = 10_000
"""Missed instants of one job that are counted; a job that starts each minute reaches it after a week."""


class PlannedJob(NamedTuple):
    """One job of the plan. name: of its table. settings: what it runs, when and after what."""

    name: str
    settings: JobSettings

    @property
    def trigger(self) -> str:
        """When it starts, for a person."""
        parts = [f"{self.settings.schedule} {self.settings.timezone}"] if self.settings.schedule else []
        parts += ["each new file"] if self.settings.on_new_file else []
        parts += [f"after {', '.join(self.settings.after)}"] if self.settings.after else []
        return "; ".join(parts) or "on request"


class DueRun(NamedTuple):
    """A run that a schedule demands. missed: earlier instants that it replaces, because nothing ran then.

    run_id: the same for each process that finds this run, so a queue accepts it once.
    """

    job: PlannedJob
    instant: datetime
    missed: int

    @property
    def run_id(self) -> str:
        return f"{self.job.name}@{format_instant(self.instant)}"


class Plan:
    """The jobs of a project by name, in an order in which each stands after those that it follows."""

    def __init__(self, jobs: Iterable[PlannedJob]) -> None:
        self.jobs = {job.name: job for job in jobs}

    def find_due(self, since: datetime, until: datetime) -> list[DueRun]:
        """List the runs whose instant lies after `since` and not after `until`: of each job the latest one only.

        A clock that was set back (until < since) makes nothing due.
        """
        due: list[DueRun] = []
        for job in self.jobs.values():
            instants = _list_instants(job, since, until)
            if instants:
                due.append(DueRun(job, instants[-1], len(instants) - 1))
        return due

    def next_instant(self, job: PlannedJob, after: datetime) -> datetime | None:
        """Return the first scheduled instant of a job after an instant; None without a schedule."""
        if job.settings.schedule is None:
            return None
        return next(iter(parse_schedule(job.settings.schedule, job.settings.timezone, after)), None)

    def find_followers(
        self, name: str, last_success: Mapping[str, datetime], last_start: Mapping[str, datetime]
    ) -> list[PlannedJob]:
        """List the jobs that start now because job `name` succeeded.

        A job that follows several starts when each of them has succeeded since its own last start. last_success: when
        each job last ended with success. last_start: when each job was last submitted.
        """
        followers: list[PlannedJob] = []
        for job in self.jobs.values():
            if name not in job.settings.after:
                continue
            started = last_start.get(job.name)
            successes = [last_success.get(before) for before in job.settings.after]
            if all(success is not None and (started is None or success > started) for success in successes):
                followers.append(job)
        return followers


def build_plan(project: Project) -> Plan:
    """Build the plan of a project. Raises ProjectError that lists every mistake with its place."""
    jobs, problems = project.jobs, list[str]()
    for name, settings in jobs.items():
        if settings.kind == "ingest" and settings.subject not in project.source_names:
            hint = suggest_name(settings.subject, project.source_names)
            problems.append(f"{project.locate('jobs', name, 'subject')}: no source {settings.subject!r}; {hint}")
        problems += [
            f"{project.locate('jobs', name, 'after')}: no job {before!r}; {suggest_name(before, jobs)}"
            for before in settings.after
            if before not in jobs
        ]
    ordered = _order_jobs(jobs)
    if not problems and len(ordered) < len(jobs):
        circle = ", ".join(name for name in jobs if name not in ordered)
        problems.append(f"{project.locate('jobs')}: these jobs wait for each other: {circle}")
    if problems:
        raise ProjectError("\n".join(problems), fix="correct the [jobs] tables there")
    return Plan(PlannedJob(name, jobs[name]) for name in ordered)


def _order_jobs(jobs: Mapping[str, JobSettings]) -> list[str]:
    """Order the jobs after those that they follow; jobs in a circle, and behind one, are left out."""
    ordered: list[str] = []
    while True:
        ready = [
            name
            for name, settings in jobs.items()
            if name not in ordered and all(before in ordered or before not in jobs for before in settings.after)
        ]
        if not ready:
            return ordered
        ordered += ready


def _list_instants(job: PlannedJob, since: datetime, until: datetime) -> list[datetime]:
    instants: list[datetime] = []
    if job.settings.schedule is None:
        return instants
    for instant in parse_schedule(job.settings.schedule, job.settings.timezone, since):
        if instant > until or len(instants) == MAX_MISSED:
            break
        instants.append(instant)
    return instants

"""The scheduler: submits the jobs of the plan that are due, that follow a success, or whose source has a new file.

It stores nothing but the instant of its last look. Each submission has a run id that says why it happened, and the
queue accepts a run id once, so a look that is repeated after a crash submits nothing twice.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Unavailable, WellspringError, format_error
from wellspring.plan import Plan, PlannedJob, build_plan
from wellspring.project import PROJECT_FILE, load_project
from wellspring.records.clock import Clock
from wellspring.records.ingestion import SourceFile
from wellspring.records.jobs import Job
from wellspring.records.record import format_instant
from wellspring.runtime.files import write_atomically
from wellspring.worker.job_service import JobService, JobSubmission

SCHEDULER = "service:scheduler"
"""The principal of the jobs that the plan starts."""
LOOK_SECONDS = 1.0
POLL_FILES = timedelta(seconds=30)
"""Time between two looks at the sources whose new files start a job."""
MAX_AHEAD = timedelta(days=1)
"""A last look that lies further ahead of the clock was made under a wrong clock, and is forgotten."""
_KEPT_RUNS = 500


class PlanState(NamedTuple):
    """When each job of the plan was last submitted, and when it last ended with success."""

    last_start: dict[str, datetime]
    last_success: dict[str, datetime]


class PlanFile:
    """The plan of a project's wellspring.toml, read again when the file changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._version: tuple[int, int] | None = None
        self._plan = Plan([])

    def read_plan(self) -> Plan:
        """Return the plan as it is now. Raises ProjectError for a mistake in the file."""
        status = (self._root / PROJECT_FILE).stat()
        version = (status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._plan = build_plan(load_project(self._root, environ={}, sources=False))
            self._version = version
        return self._plan


class Scheduler:
    """Looks at the plan of one project. One thread calls `run` or `look`.

    load_plan: reads the plan as it is now. list_files: lists the files of a source. looked_at: the file that holds the
    instant of the last look.
    """

    def __init__(
        self,
        service: JobService,
        looked_at: Path,
        *,
        load_plan: Callable[[], Plan],
        list_files: Callable[[str], Sequence[SourceFile]],
        clock: Clock,
    ) -> None:
        self._service = service
        self._path = looked_at
        self._load_plan = load_plan
        self._list_files = list_files
        self._clock = clock
        self._polled_at: datetime | None = None
        self._seen_ends = -1
        self._problem = ""

    def run(self, stop: threading.Event) -> None:
        """Look once a second until the event is set. A problem is logged when it begins."""
        while not stop.wait(LOOK_SECONDS):
            try:
                self.look()
                self._problem = ""
            except WellspringError as exc:
                if exc.what != self._problem:
                    print(format_error(exc.slug, exc.what, exc.fix), file=sys.stderr)
                self._problem = exc.what

    def look(self) -> list[Job]:
        """Submit what is due now, and return it. Raises ProjectError for a mistake in the plan, Unavailable."""
        plan = self._load_plan()
        if not plan.jobs:
            return []
        now = self._clock.now()
        since = self._read_last_look(now)
        submitted = [self._submit(due.job, due.run_id) for due in plan.find_due(since, now)]
        if submitted or now - since >= timedelta(hours=1):
            # Only after the submissions: what a crash prevents is found again.
            write_atomically(self._path, format_instant(now).encode())
        submitted += self._submit_followers(plan)
        return submitted + self._submit_for_new_files(plan, now)

    def _submit_followers(self, plan: Plan) -> list[Job]:
        # Most looks find that no job has ended since the last one.
        ended_jobs = self._service.ended_jobs
        if ended_jobs == self._seen_ends or not any(job.settings.after for job in plan.jobs.values()):
            return []
        state = read_plan_state(plan, self._service.queue.list_jobs(limit=_KEPT_RUNS))
        followers: dict[str, PlannedJob] = {}
        for name in state.last_success:
            for job in plan.find_followers(name, state.last_success, state.last_start):
                followers[job.name] = job
        submitted = [
            self._submit(job, f"{job.name}@after-{format_instant(_latest(job.settings.after, state.last_success))}")
            for job in followers.values()
        ]
        self._seen_ends = ended_jobs
        return submitted

    def _submit_for_new_files(self, plan: Plan, now: datetime) -> list[Job]:
        waiting = [job for job in plan.jobs.values() if job.settings.on_new_file]
        if not waiting or (self._polled_at is not None and abs(now - self._polled_at) < POLL_FILES):
            return []
        self._polled_at = now
        submitted: list[Job] = []
        for job in waiting:
            # Without the enclave nothing can be listed; a later look does it.
            with suppress(Unavailable):
                new_files = [file for file in self._list_files(job.settings.subject) if file.state == "new"]
                if new_files:
                    submitted.append(self._submit(job, f"{job.name}@new-{_hash_files(new_files)}"))
        return submitted

    def _submit(self, job: PlannedJob, run_id: str) -> Job:
        submission = JobSubmission(
            kind=job.settings.kind,
            subject=job.settings.subject,
            parameters={},
            run=run_id,
            is_interactive=False,
            priority=job.settings.priority,
            trace="",
            crash_at=None,
        )
        return self._service.submit_job(submission, SCHEDULER)

    def _read_last_look(self, now: datetime) -> datetime:
        try:
            last_look = datetime.fromisoformat(self._path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            last_look = None
        if last_look is None or last_look - now > MAX_AHEAD:
            # Of the time before the first look nothing is due.
            write_atomically(self._path, format_instant(now).encode())
            return now
        return last_look


def read_plan_state(plan: Plan, jobs: Iterable[Job]) -> PlanState:
    """Find the last start and success of each job of the plan, by the names in their run ids."""
    state = PlanState({}, {})
    for job in jobs:
        name = job.run.partition("@")[0]
        if name not in plan.jobs or "@" not in job.run:
            continue
        state.last_start[name] = max(job.known_since, state.last_start.get(name, job.known_since))
        if job.state == "succeeded" and job.ended_at is not None:
            state.last_success[name] = max(job.ended_at, state.last_success.get(name, job.ended_at))
    return state


def _latest(names: Iterable[str], instants: dict[str, datetime]) -> datetime:
    return max(instants[name] for name in names)


def _hash_files(files: Iterable[SourceFile]) -> str:
    """Return a digest of the listing of new files: the same files start one job."""
    listed = sorted(file.model_dump_json() for file in files)
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]

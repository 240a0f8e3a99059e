"""Days of a simulated project: what happens in each, and what must be true at its end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.simulation.figures import DayFigures
from tests.simulation.project import HOURS, METERS, SimulatedProject, describe_job
from wellspring.records.jobs import Job

FIRST_DAY = "2030-02-21"
"""From here thirty days have the end of a month, and the day on which Chicago changes its clocks."""
DELIVERY, SCHEDULE, SET_BACK, SET_AGAIN, EVENING = (
    timedelta(hours=6),
    timedelta(hours=13),
    timedelta(hours=12),
    timedelta(hours=12, minutes=45),
    timedelta(hours=22),
)
"""SCHEDULE: after the scheduled run of the day, in winter and in summer. SET_BACK: before it. SET_AGAIN: after it."""
CLOCK_SET_BACK, WITNESS_GONE, SERVERS_DOWN = "clock set back", "witness gone", "servers down"
EVENTS = {CLOCK_SET_BACK: 5, WITNESS_GONE: 7, SERVERS_DOWN: 15}
"""On which day, from 1, each event happens. A run of fewer days has the events of its days."""


class SimulatedDays:
    """Takes a project through its days, one after another. problems: what was not as it must be, so far.

    A day has six jobs: a new file starts an ingest, the schedule starts another one that finds nothing new, each
    success starts a transform, and that a retention. In the evening the pack of each drop that was published is written
    and verified. In a project without transforms a day has the two ingests.
    """

    def __init__(self, project: SimulatedProject, first_day: datetime, events: Mapping[str, int]) -> None:
        self._project = project
        self._jobs_per_trigger = len(project.project.jobs)
        self._first_day = first_day
        self._events = {number: name for name, number in events.items()}
        self._unpublished = 0
        self._rows = 0
        self._edition = ""
        self._built: list[str] = []
        self._retired: list[str] = []
        self.figures: list[DayFigures] = []
        self.problems: list[str] = []

    def run_days(self, count: int, progress: Callable[[DayFigures], None]) -> None:
        """Run the next days."""
        for _ in range(count):
            figures = self._run_day(len(self.figures) + 1)
            self.figures.append(figures)
            progress(figures)

    def check_end(self) -> None:
        """Check what must be true after the last day; the pack of the newest edition has the story of all days."""
        self.problems += self._project.prove(f"edition:{self._edition}")
        self._expect(all(job.is_ended for job in self._project.list_jobs()), "the queue is not empty")
        self._expect(self._unpublished == 0, f"{self._unpublished} drops were not published")
        delivered = len(self.figures) * METERS * HOURS
        self._expect(self._rows == delivered, f"the edition has {self._rows} rows, and {delivered} were delivered")
        self._check_retention()
        self.problems += [f"open incident: {text}" for text in self._project.list_open_incidents()]
        self.problems += self._project.verify_ledger()
        simulated_at = str(self._project.read_status()["simulated_at"])
        self._expect(simulated_at.startswith(self.figures[-1].day), f"`status` reports the instant {simulated_at}")

    def _check_retention(self) -> None:
        """Check that the editions of the last days can be read, and that older ones are retired and still proved."""
        kept_days = self._project.project.retention.editions
        if kept_days is None or not self._built:
            return
        expected = self._built[-kept_days.days :]
        self._expect(self._retired == self._built[: len(self._retired)], "another edition than the oldest was retired")
        self._expect(not set(expected) & set(self._retired), "an edition was retired before its retention ended")
        self._expect(
            len(self._built) - len(self._retired) <= kept_days.days + 2,
            f"{len(self._built)} editions were built, and {len(self._retired)} retired",
        )
        self.problems += [problem for edition in expected for problem in self._project.read_edition(edition)]
        for edition in self._retired[:1]:
            self.problems += self._project.prove(f"edition:{edition}")
            self._expect(bool(self._project.read_edition(edition)), f"the retired edition {edition} can be read")

    def _run_day(self, number: int) -> DayFigures:
        started, cpu, project = time.monotonic(), self._project.measure_cpu(), self._project
        day, event = self._first_day + timedelta(days=number - 1), self._events.get(number, "")
        project.set_clock(day)
        project.wait_for_log()
        self._unpublished += 1
        jobs = self._run_without_witness(day) if event == WITNESS_GONE else self._run_planned_jobs(day, event)
        project.set_clock(day + (SET_BACK if event == CLOCK_SET_BACK else EVENING))
        drops = self._collect_drops(jobs)
        for drop in drops:
            self.problems += project.prove(f"drop:{drop}")
        if event == CLOCK_SET_BACK:
            project.set_clock(day + SET_AGAIN)
            project.wait_for_log()
        self.problems += [f"{day:%Y-%m-%d}: one job too many: {describe_job(job)}" for job in project.list_new_jobs()]
        return DayFigures(
            day=f"{day:%Y-%m-%d}",
            events=", ".join(filter(None, (event, *_name_calendar(day)))),
            seconds=round(time.monotonic() - started, 1),
            cpu_seconds=round(project.measure_cpu() - cpu, 1),
            jobs=dict(Counter(job.state for job in jobs)),
            stored_jobs=len(project.list_jobs()),
            log_entries=project.read_log().size,
            packs=len(drops),
            folders=project.measure_folders(),
        )

    def _run_planned_jobs(self, day: datetime, event: str) -> list[Job]:
        """Deliver the drop of a day, and wait for the jobs that the file and the schedule start."""
        project = self._project
        project.deliver_drop(day + DELIVERY)
        jobs = project.wait_for_jobs(self._jobs_per_trigger)
        if event == SERVERS_DOWN:
            project.stop()
        project.set_clock(day + SCHEDULE)
        if event == SERVERS_DOWN:
            project.start()
        jobs += project.wait_for_jobs(self._jobs_per_trigger)
        self._expect_states(day, jobs, {"succeeded": 2 * self._jobs_per_trigger})
        return jobs

    def _run_without_witness(self, day: datetime) -> list[Job]:
        """Run a day on which the witness cosigns nothing: its jobs fail, and the next day does their work."""
        project = self._project
        project.block_witness()
        project.deliver_drop(day + DELIVERY)
        jobs = project.wait_for_jobs(1)
        project.set_clock(day + SCHEDULE)
        jobs += project.wait_for_jobs(1)
        self._expect_states(day, jobs, {"failed": 2})
        log = project.read_log()
        self._expect(bool(log.problem and log.pending), f"{day:%Y-%m-%d}: the log grew without its witness: {log}")
        project.release_witness()
        return jobs

    def _collect_drops(self, jobs: Sequence[Job]) -> list[str]:
        """List the drops that these jobs published; note the newest edition, and the rows of the newest landed one."""
        drops: list[str] = []
        for job in jobs:
            result: Any = job.result
            if job.state == "succeeded" and job.kind != "retain":
                self._edition = result["edition"]["id"]
            if job.state == "succeeded" and job.kind == "transform" and result["newly_built"]:
                self._built.append(self._edition)
            if job.state == "succeeded" and job.kind == "retain":
                self._retired += result["retired"]
            if job.state == "succeeded" and job.kind == "ingest":
                drops += [file["drop"] for file in result["files"] if file["status"] == "published"]
                self._rows = sum(table["rows"] for table in result["edition"]["tables"])
        self._unpublished -= len(drops)
        return drops

    def _expect_states(self, day: datetime, jobs: Sequence[Job], expected: Mapping[str, int]) -> None:
        states = dict(Counter(job.state for job in jobs))
        self._expect(states == expected, f"{day:%Y-%m-%d}: {'; '.join(map(describe_job, jobs))}")

    def _expect(self, is_met: bool, problem: str) -> None:
        if not is_met:
            self.problems.append(problem)


def run_simulation(
    count: int, events: Mapping[str, int], progress: Callable[[DayFigures], None], *, transforms: bool = True
) -> SimulatedDays:
    """Run days of a new project on its own servers, and check the end; the project is removed."""
    begin = datetime.fromisoformat(FIRST_DAY).replace(tzinfo=UTC)
    folder = Path(tempfile.mkdtemp(prefix="ws-sim-"))
    folder.chmod(0o755)
    project = SimulatedProject(folder / "project", begin - timedelta(hours=1), transforms=transforms)
    days = SimulatedDays(project, begin, events)
    try:
        project.start()
        days.run_days(count, progress)
        days.check_end()
    finally:
        project.stop()
        shutil.rmtree(folder)
    return days


def _name_calendar(day: datetime) -> list[str]:
    offsets = [(day + timedelta(days=days)).astimezone(ZoneInfo("America/Chicago")).utcoffset() for days in (0, 1)]
    names = ["month end"] if (day + timedelta(days=1)).day == 1 else []
    return [*names, "time zone change"] if offsets[0] != offsets[1] else names

"""The scheduler starts what is due, once, whatever is killed and whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders.worker import WorkerWorld
from wellspring.errors import ProjectError, Unavailable
from wellspring.records.ingestion import SourceFile
from wellspring.records.jobs import Job
from wellspring.worker.scheduler import POLL_FILES, PlanFile, Scheduler

PLAN = """
[jobs.claims]
kind = "ingest"
subject = "vendor"
schedule = "0 * * * *"
priority = 4

[jobs.tables]
kind = "transform"
after = ["claims"]

[jobs.arrivals]
kind = "ingest"
subject = "vendor"
on_new_file = true
"""


class World(WorkerWorld):
    """A worker with a scheduler. files: of the source; its listing fails while they are None."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, toml=PLAN)
        self.files: list[SourceFile] | None = []
        self.looked_at = folder / "looked_at"
        self.scheduler = self.open_scheduler()

    def open_scheduler(self) -> Scheduler:
        return Scheduler(
            self.service,
            self.looked_at,
            load_plan=PlanFile(self.folder).read_plan,
            list_files=self.list_files,
            clock=self.clock,
        )

    def list_files(self, source: str) -> Sequence[SourceFile]:
        if self.files is None:
            raise Unavailable("the enclave does not respond", fix="run `wellspring up`")
        return self.files

    def look(self, **later: float) -> list[str]:
        """Let time pass, and return the run ids of what is submitted."""
        self.clock.instant += timedelta(**later)
        return [job.run for job in self.scheduler.look()]

    def succeed(self, run: str) -> None:
        (job,) = [job for job in self.queue.list_jobs() if job.run == run]
        self.service.end_job(job, "succeeded")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(World(tmp_path)) as world:
        yield world


def submitted(world: World) -> list[Job]:
    return world.queue.list_jobs()


def test_before_the_first_look_nothing_was_due(world: World):
    assert world.look() == []
    assert world.look(minutes=59) == []


def test_a_due_job_is_submitted_once_by_the_scheduler(world: World):
    world.look()
    assert world.look(hours=1, minutes=1) == ["claims@2026-11-30T13:00:00.000000Z"]
    assert world.look(minutes=1) == []
    (job,) = submitted(world)
    assert (job.kind, job.subject, job.principal, job.priority) == ("ingest", "vendor", "service:scheduler", 4)
    assert job.retries


def test_a_look_that_was_lost_submits_nothing_twice(world: World):
    world.look()
    before = world.looked_at.read_bytes()
    world.look(hours=1, minutes=1)
    world.looked_at.write_bytes(before)
    world.scheduler = world.open_scheduler()
    assert world.look() == ["claims@2026-11-30T13:00:00.000000Z"]
    assert len(submitted(world)) == 1


def test_runs_that_were_missed_while_nothing_ran_are_one_run(world: World):
    world.look()
    assert world.look(hours=5, minutes=1) == ["claims@2026-11-30T17:00:00.000000Z"]
    assert len(submitted(world)) == 1


def test_a_clock_that_is_set_back_an_hour_repeats_nothing(world: World):
    world.look()
    world.look(hours=1, minutes=1)
    assert world.look(hours=-1) == []
    assert world.look(hours=1) == []
    assert world.look(hours=1) == ["claims@2026-11-30T14:00:00.000000Z"]


def test_a_last_look_far_ahead_of_the_clock_is_forgotten(world: World):
    world.look()
    world.looked_at.write_text("2027-11-30T12:00:00.000000Z")
    assert world.look() == []
    assert world.look(hours=1, minutes=1) == ["claims@2026-11-30T13:00:00.000000Z"]


def test_a_follower_starts_after_each_success(world: World):
    world.look()
    (run,) = world.look(hours=1, minutes=1)
    assert world.look(minutes=1) == []
    world.clock.instant += timedelta(minutes=1)
    world.succeed(run)
    (follower,) = world.look(minutes=1)
    assert follower.startswith("tables@after-2026-11-30T13:03")
    assert world.look(minutes=1) == []
    world.scheduler = world.open_scheduler()
    assert world.look(minutes=1) == []


def test_new_files_start_their_job_once(world: World):
    file = SourceFile(
        source="vendor", name="a.csv", size=3, modified=world.clock.instant - timedelta(hours=1), state="new"
    )
    world.files = [file.model_copy(update={"state": "ingested"})]
    assert world.look() == []
    world.files = [file]
    assert world.look(seconds=1) == []
    poll = POLL_FILES.total_seconds()
    (run,) = world.look(seconds=poll)
    assert run.startswith("arrivals@new-")
    world.look(seconds=poll)
    assert len(submitted(world)) == 1
    world.files = [file, file.model_copy(update={"name": "b.csv"})]
    world.look(seconds=poll)
    assert len(submitted(world)) == 2


def test_without_the_enclave_the_other_jobs_start(world: World):
    world.look()
    world.files = None
    assert world.look(hours=1, minutes=1) == ["claims@2026-11-30T13:00:00.000000Z"]


def test_a_mistake_in_the_plan_submits_nothing(world: World):
    world.look()
    path = world.folder / "wellspring.toml"
    path.write_text(path.read_text().replace('after = ["claims"]', 'after = ["clams"]'))
    with pytest.raises(ProjectError, match="no job 'clams'"):
        world.look(hours=1, minutes=1)
    assert submitted(world) == []

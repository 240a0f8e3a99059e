"""Submission, cancellation and repetition of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.builders.jobs import NOON
from tests.builders.recording_step import Died
from tests.builders.worker import WorkerWorld
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.records.user_notes import UserNote
from wellspring.trust.user_notes import compute_note_digest
from wellspring.worker import job_service

FORBID = 'permit (principal, action, resource);\nforbid (principal, action == Action::"ingest", resource);'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WorkerWorld]:
    with closing(WorkerWorld(tmp_path)) as world:
        yield world


def test_a_submission_has_its_caller_resources_and_trace(world: WorkerWorld):
    job = world.submit(run="nightly-1", trace="b" * 32, priority=3)
    assert (job.principal, job.resources, job.trace) == ("service:owner", ("built", "landed"), "b" * 32)
    assert (job.run, job.tenant, job.known_since, job.priority) == ("nightly-1", "acme", NOON, 3)
    assert world.submit(trace="not a trace").trace == world.submit().trace == f"{2:032x}"


def test_a_job_that_is_submitted_twice_is_one_job(world: WorkerWorld):
    first = world.submit(run="nightly-1")
    assert world.submit(run="nightly-1", trace="c" * 32) == first
    with pytest.raises(Refused, match="other content"):
        world.submit("transform", "", run="nightly-1")
    assert len(world.queue.list_jobs()) == 1


def test_a_job_whose_submission_was_not_acknowledged_is_in_the_queue_once(world: WorkerWorld):
    world.step.die_at = "worker.submit:queued"
    with pytest.raises(Died):
        world.submit(run="nightly-1")
    (job,) = world.queue.list_jobs()
    assert (job.run, job.state) == ("nightly-1", "queued")
    assert world.submit(run="nightly-1") == job
    assert len(world.queue.list_jobs()) == 1


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"kind": "reveal"}, NotFound),
        ({"subject": "vendr"}, NotFound),
        ({"subject": ""}, NotFound),
        ({"run": "a b"}, Refused),
        ({"priority": 1000}, Refused),
        ({"parameters": {"token": "x"}}, Refused),
        ({"parameters": {"note": {}}}, NotFound),
        ({"kind": "prove", "subject": "219-09-9999"}, Refused),
        ({"run": "219-09-9999"}, Refused),
        ({"kind": "reproduce", "parameters": {"run": "219-09-9999"}}, Refused),
    ],
)
def test_a_wrong_submission_queues_nothing(world: WorkerWorld, values: dict[str, Any], kind: type[Exception]):
    with pytest.raises(kind):
        world.submit(**values)
    assert world.queue.list_jobs() == []


def test_a_kind_that_the_policies_forbid_is_refused_and_recorded(world: WorkerWorld):
    world.write_policies(FORBID)
    with pytest.raises(Refused, match="may not ingest"):
        world.submit(trace="b" * 32)
    assert [(entry.action, entry.phase, entry.trace) for entry in world.step.entries] == [
        ("authorize", "refused", "b" * 32)
    ]
    assert world.queue.list_jobs() == []
    assert world.submit("transform", "").state == "queued"


def test_with_a_full_disk_nothing_is_queued(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch):
    def submit(_: Any) -> Any:
        raise Unavailable("full", fix="free it")

    monkeypatch.setattr(world.queue, "submit", submit)
    with pytest.raises(Unavailable):
        world.submit(crash_at="lake.publish:intent")
    assert world.queue.list_jobs() == []


def test_a_queued_job_is_cancelled_at_once_and_can_be_queued_again(world: WorkerWorld):
    job = world.submit()
    assert world.service.cancel_job(job.id).state == "cancelled"
    with pytest.raises(Refused, match="is cancelled"):
        world.service.cancel_job(job.id)
    retried = world.service.retry_job(job.id)
    assert (retried.state, retried.attempts, retried.error) == ("queued", 0, None)
    with pytest.raises(Refused, match="is queued"):
        world.service.retry_job(job.id)
    with pytest.raises(NotFound):
        world.service.cancel_job("f" * 12)


def test_the_job_of_an_act_has_the_author_of_its_note_as_caller(world: WorkerWorld):
    job = world.submit_rollback("denials")
    note = UserNote.model_validate(job.parameters["note"], strict=False)
    assert (job.principal, job.resources) == ("user:ana", ("release:denials",))
    assert job.note_digest == compute_note_digest(note)
    for kind, parameters in (("rollback", {}), ("approve", job.parameters), ("rollback", {"note": "ana"})):
        with pytest.raises(Refused, match="carries no signed"):
            world.submit(kind, "x", parameters=parameters)


def test_ended_jobs_are_kept_up_to_a_number_with_their_events(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_service, "MAX_KEPT_JOBS", 2)
    jobs = [world.submit(run=str(number)) for number in range(4)]
    for job in jobs:
        world.service.cancel_job(job.id)
    assert [job.run for job in world.queue.list_jobs()] == ["2", "3"]
    assert sorted(path.stem for path in world.project.jobs_dir.glob("*.jsonl")) == sorted(job.id for job in jobs[2:])


def test_an_unknown_job_cannot_be_followed(world: WorkerWorld):
    with pytest.raises(NotFound):
        world.service.follow_job("f" * 12)

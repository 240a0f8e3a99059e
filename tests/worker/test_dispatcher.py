"""The dispatcher: which job starts when, and what follows the end of an attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.approvals import Somebody
from tests.builders.jobs import NOON, SUCCEED, WAIT, ScriptedWarmServer, build_job
from tests.builders.worker import WorkerWorld
from wellspring.errors import Unavailable
from wellspring.worker import dispatcher
from wellspring.worker.dispatcher import MAX_BACKOFF, is_due, select_runnable
from wellspring.worker.warm_client import WarmChild

UNAVAILABLE = (
    "emit(event='error', slug='unavailable', what='the server is down', fix='wait', verdict=None); sys.exit(69)"
)
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WorkerWorld]:
    with closing(WorkerWorld(tmp_path)) as world:
        yield world


def test_a_job_runs_and_its_result_is_kept(world: WorkerWorld):
    with world.running():
        ended = world.wait_for(world.submit())
    assert (ended.state, ended.result, ended.attempts) == ("succeeded", {"subject": "vendor"}, 1)
    assert [event.event for event in world.service.log.read_events(ended.id)] == ["started", "ended"]


def test_an_attempt_is_running_in_the_queue_before_its_child_starts_and_until_its_end_is_saved(world: WorkerWorld):
    with world.running():
        assert world.wait_for(world.submit()).state == "succeeded"
    assert world.points == [("worker.start:running", "running", 0), ("worker.end:unsaved", "running", 1)]


def test_a_job_of_another_resource_does_not_wait(world: WorkerWorld):
    world.scripts["denials"] = WAIT
    with world.running():
        training = world.submit("train", "denials")
        world.wait_for(training, "running")
        second = world.submit("train", "denials")
        assert world.wait_for(world.submit_rollback("x")).state == "succeeded"
        assert world.wait_for(world.submit()).state == "succeeded"
        assert world.queue.get_job(second.id).state == "queued"
    assert world.queue.get_job(training.id).state == "queued"


def test_acts_on_two_models_run_at_a_time_and_those_on_one_model_do_not(world: WorkerWorld):
    bo = Somebody("bo", "owner")
    world.books.enrol(bo)
    proposed = world.propose(bo, "a")
    world.scripts["a"] = WAIT
    with world.running():
        first = world.wait_for(world.submit_rollback("a"), "running")
        lines = (proposed.model, proposed.id, proposed.digest)
        approval = world.submit("approve", proposed.id, parameters=world.sign_act("release", *lines))
        assert approval.resources == first.resources
        rollback = world.wait_for(world.submit_rollback("b"))
        assert (rollback.state, world.queue.get_job(first.id).state) == ("succeeded", "running")
        assert world.queue.get_job(approval.id).state == "queued"
        world.service.cancel_job(first.id)
        assert world.wait_for(approval).state == "succeeded"


def test_an_act_of_a_person_runs_beyond_the_limit(world: WorkerWorld):
    world.scripts.update(a=WAIT, b=WAIT)
    with world.running():
        for model in "ab":
            world.wait_for(world.submit("train", model), "running")
        waiting = world.submit("train", "c")
        assert world.wait_for(world.submit_rollback("c")).state == "succeeded"
        assert world.queue.get_job(waiting.id).state == "queued"


def test_a_job_that_is_killed_is_repeated_until_its_limit(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatcher, "_FIRST_BACKOFF", timedelta(0))
    world.scripts["vendor"] = KILLED
    with world.running():
        ended = world.wait_for(world.submit())
    assert (ended.state, ended.attempts) == ("failed", 3)
    assert ended.error is not None
    assert "signal 9" in str(ended.error["what"])


def test_a_command_that_waits_gets_the_first_error(world: WorkerWorld):
    world.scripts["vendor"] = KILLED
    with world.running():
        ended = world.wait_for(world.submit(is_interactive=True))
    assert (ended.state, ended.attempts) == ("failed", 1)


def test_while_a_server_is_down_a_job_waits_longer_each_time(world: WorkerWorld):
    world.scripts["vendor"] = UNAVAILABLE
    with world.running():
        job = world.submit()
        waits = []
        for attempt in (1, 2):
            while (current := world.wait_for(job, "queued")).attempts != attempt or current.not_before is None:
                pass
            waits.append((current.not_before - world.clock.now()).total_seconds())
            world.clock.advance(waits[-1])
            world.dispatcher.wake()
        assert world.wait_for(job).state == "failed"
    assert waits == [5, 10]


def test_without_a_credential_the_job_waits_too(world: WorkerWorld):
    world.no_credential = True
    with world.running():
        job = world.submit()
        while (current := world.wait_for(job, "queued")).not_before is None:
            pass
        assert current.error is not None
        world.no_credential = False
        world.clock.advance(5)
        world.dispatcher.wake()
        assert world.wait_for(job).state == "succeeded"


def test_a_refusal_is_its_own_state_and_is_not_repeated(world: WorkerWorld):
    world.scripts["vendor"] = "emit(event='error', slug='refused', what='no', fix='ask', verdict=None); sys.exit(77)"
    with world.running():
        ended = world.wait_for(world.submit())
    assert (ended.state, ended.attempts) == ("refused", 1)


def test_with_the_warm_server_killed_the_job_is_repeated_by_the_next_one(world: WorkerWorld):
    world.scripts["vendor"] = WAIT
    with world.running():
        job = world.wait_for(world.submit(is_interactive=True), "running")
        while not world.warm_servers[0].started:
            threading.Event().wait(0.01)
        world.scripts["vendor"] = SUCCEED
        world.warm_servers[0].end()
        ended = world.wait_for(job)
    assert (ended.state, ended.attempts, len(world.warm_servers)) == ("succeeded", 2, 2)


def test_a_job_whose_warm_server_ended_before_it_started_the_child_is_repeated(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
):
    start_child = ScriptedWarmServer.start_child

    def start_in_the_second(warm: ScriptedWarmServer, *request: Any) -> WarmChild:
        if len(world.warm_servers) == 1:
            warm.end()
            raise Unavailable("the warm server of the worker did not start", fix="wait")
        return start_child(warm, *request)

    monkeypatch.setattr(ScriptedWarmServer, "start_child", start_in_the_second)
    with world.running():
        ended = world.wait_for(world.submit(is_interactive=True))
    assert (ended.state, ended.attempts) == ("succeeded", 2)


def test_a_job_that_the_stop_of_the_worker_kept_from_its_start_waits_for_the_next_start(world: WorkerWorld):
    world.no_credential, world.on_credential = True, world.dispatcher.request_stop
    with world.running():
        job = world.submit(is_interactive=True)
        world.wait_for(job, "running", "queued", "failed")
        while not world.queue.get_job(job.id).attempts:
            pass
    stopped = world.queue.get_job(job.id)
    assert (stopped.state, stopped.attempts) == ("queued", 1)
    world.no_credential, world.on_credential = False, lambda: None
    world.queue.close()
    world.open_worker()
    with world.running():
        assert world.wait_for(job).state == "succeeded"


def test_what_ran_when_the_worker_was_killed_is_repeated_at_most_to_its_limit(world: WorkerWorld):
    jobs = [world.submit(run=str(number)) for number in range(4)]
    world.queue.update_job(jobs[0].id, ("queued",), state="running", attempts=1)
    world.queue.update_job(jobs[1].id, ("queued",), state="running", attempts=3)
    world.queue.update_job(jobs[2].id, ("queued",), state="running", attempts=1, requested_cancel=True)
    world.dispatcher.resume_interrupted()
    assert [world.queue.get_job(job.id).state for job in jobs] == ["queued", "failed", "cancelled", "queued"]
    error = world.queue.get_job(jobs[1].id).error
    assert error is not None
    assert error["what"] == "the worker ended 3 times while it ran this job"


def test_a_running_job_is_cancelled_and_what_it_left_is_for_the_next(world: WorkerWorld):
    world.scripts["vendor"] = WAIT
    with world.running():
        job = world.wait_for(world.submit(), "running")
        next_job = world.submit(run="next")
        while not world.warm_servers[0].started:
            threading.Event().wait(0.01)
        # Before the first job ends: the dispatcher starts the next one at once.
        world.scripts["vendor"] = SUCCEED
        assert world.service.cancel_job(job.id).state == "running"
        ended = world.wait_for(job)
        assert ended.state == "cancelled"
        assert world.wait_for(next_job).state == "succeeded"
    assert ended.attempts == 1


def test_a_full_disk_delays_the_end_of_a_job_and_loses_nothing(world: WorkerWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatcher, "_REPEAT_SECONDS", 0.05)
    update, full = world.queue.update_job, threading.Event()
    full.set()

    def update_job(job_id: str, expected: object, **changes: object) -> object:
        if full.is_set() and changes.get("state") == "succeeded":
            raise Unavailable("the disk is full", fix="free it")
        return update(job_id, expected, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(world.queue, "update_job", update_job)
    with world.running():
        job = world.wait_for(world.submit(), "running")
        while not world.dispatcher._unsaved:
            threading.Event().wait(0.01)
        assert world.queue.get_job(job.id).state == "running"
        full.clear()
        assert world.wait_for(job).result == {"subject": "vendor"}


@given(
    resources=st.lists(st.frozensets(st.sampled_from("abc")), max_size=6), running=st.frozensets(st.sampled_from("abc"))
)
def test_jobs_that_run_together_share_no_resource(resources: list[frozenset[str]], running: frozenset[str]):
    queued = [build_job(number, resources=tuple(names)) for number, names in enumerate(resources)]
    selected = select_runnable(queued, [build_job(99, resources=tuple(running))], NOON)
    names = [name for job in selected for name in job.resources]
    assert len(names) == len(set(names))
    assert not running & set(names)
    for position, job in enumerate(queued):
        earlier = {name for item in queued[:position] for name in item.resources}
        assert (job in selected) == (not (running | earlier) & set(job.resources))


def test_after_the_clock_was_set_back_an_hour_no_back_off_lasts_an_hour():
    job = build_job(not_before=NOON + timedelta(seconds=20))
    assert not is_due(job, NOON)
    assert is_due(job, NOON - timedelta(hours=1))
    assert not is_due(job, job.not_before - MAX_BACKOFF if job.not_before else NOON)
    assert is_due(job, NOON + timedelta(seconds=20))


def test_the_order_of_jobs_does_not_depend_on_the_clock(world: WorkerWorld):
    first = world.submit(run="first")
    world.clock.advance(-3600)
    world.submit(run="second")
    assert world.queue.list_queued()[0].id == first.id

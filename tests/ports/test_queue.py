"""Behavior of every queue of jobs: the suite of stores/queue/port.py."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.architecture import repository
from tests.builders.jobs import build_job
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.stores.queue.port import JobQueue
from wellspring.stores.queue.sqlite import SqliteJobQueue

OpenQueue = Callable[[], JobQueue]


@pytest.fixture(params=[SqliteJobQueue])
def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> OpenQueue:
    return lambda: request.param(tmp_path / "queue.sqlite")


@pytest.fixture
def queue(open_queue: OpenQueue) -> Iterator[JobQueue]:
    job_queue = open_queue()
    yield job_queue
    job_queue.close()


def test_a_job_is_there_after_the_queue_was_opened_again(queue: JobQueue, open_queue: OpenQueue):
    job = queue.submit(build_job(parameters={"count": 1}))
    assert open_queue().get_job(job.id) == job
    queue.close()
    queue.close()
    with pytest.raises(Unavailable, match="closed"):
        queue.get_job(job.id)


def test_the_same_run_twice_is_one_job(queue: JobQueue):
    first = queue.submit(build_job(1))
    assert queue.submit(build_job(2, run="run-1")) == first
    queue.update_job(first.id, ("queued",), state="succeeded", result=7)
    assert queue.submit(build_job(3, run="run-1")).result == 7
    assert [job.id for job in queue.list_jobs()] == [first.id]


def test_the_same_run_with_other_content_is_refused(queue: JobQueue):
    queue.submit(build_job(1))
    with pytest.raises(Refused, match="submitted before, as ingest vendor"):
        queue.submit(build_job(2, run="run-1", subject="other"))
    assert len(queue.list_jobs()) == 1


def test_a_transition_from_another_state_is_refused_and_changes_nothing(queue: JobQueue):
    job = queue.submit(build_job())
    queue.update_job(job.id, ("queued",), state="running", attempts=1)
    with pytest.raises(Refused, match="is running, not queued"):
        queue.update_job(job.id, ("queued",), state="running", attempts=2)
    assert queue.get_job(job.id).attempts == 1
    with pytest.raises(NotFound):
        queue.update_job("f" * 12, ("queued",), state="running")


def test_of_many_threads_one_starts_a_job(queue: JobQueue):
    job = queue.submit(build_job())
    winners: list[int] = []

    def start(number: int) -> None:
        try:
            queue.update_job(job.id, ("queued",), state="running", attempts=number)
        except Refused:
            return
        winners.append(number)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [queue.get_job(job.id).attempts] == winners


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(priorities=st.lists(st.integers(-3, 3), max_size=8))
def test_queued_jobs_are_in_the_order_of_priority_and_then_age(tmp_path_factory: pytest.TempPathFactory, priorities):
    queue = SqliteJobQueue(tmp_path_factory.mktemp("queue") / "queue.sqlite")
    jobs = [queue.submit(build_job(number, priority=priority)) for number, priority in enumerate(priorities)]
    assert queue.list_queued() == sorted(jobs, key=lambda job: -job.priority)
    queue.close()


def test_jobs_are_listed_by_state_oldest_first(queue: JobQueue):
    for number in range(5):
        queue.submit(build_job(number))
    queue.update_job(build_job(3).id, ("queued",), state="failed")
    assert [job.run for job in queue.list_jobs(("queued",), limit=2)] == ["run-2", "run-4"]
    assert [job.run for job in queue.list_jobs(("failed", "running"))] == ["run-3"]


def test_the_oldest_ended_jobs_are_removed(queue: JobQueue):
    for number in range(6):
        queue.submit(build_job(number))
        if number != 1:
            queue.update_job(build_job(number).id, ("queued",), state="succeeded")
    assert sorted(queue.remove_ended(2)) == [build_job(number).id for number in (0, 2, 3)]
    assert [job.run for job in queue.list_jobs()] == ["run-1", "run-4", "run-5"]


FILL_DISK = """
import resource, sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/src"]
from pathlib import Path
import signal
from tests.builders.jobs import build_job
from wellspring.errors import Unavailable
from wellspring.stores.queue.sqlite import SqliteJobQueue
queue = SqliteJobQueue(Path(sys.argv[1]))
queue.submit(build_job(1))
size = Path(sys.argv[1]).stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
number = 1
try:
    while True:
        queue.submit(build_job(number + 1, parameters={"text": "x" * 900}))
        number += 1
except Unavailable as exc:
    print(number, len(queue.list_jobs()), exc.fix)
"""


def test_a_full_disk_refuses_a_submission_and_loses_no_job(tmp_path: Path):
    path = tmp_path / "queue.sqlite"
    ran = subprocess.run(
        [sys.executable, "-c", FILL_DISK, str(path), str(repository.ROOT)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    submitted, listed, fix = ran.stdout.split(" ", 2)
    assert submitted == listed
    assert fix.startswith("free disk space")
    queue = SqliteJobQueue(path)
    assert len(queue.list_jobs()) == int(submitted)
    queue.submit(build_job(10_000))


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/src"]
from pathlib import Path
from tests.builders.jobs import build_job
from wellspring.stores.queue.sqlite import SqliteJobQueue
queue = SqliteJobQueue(Path(sys.argv[1]))
for number in range(10_000):
    queue.submit(build_job(number))
    os.write(1, b"%d\\n" % number)
"""


def test_each_job_that_was_confirmed_survives_kill_9(tmp_path: Path):
    path = tmp_path / "queue.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(repository.ROOT)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        confirmed = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in process.stdout.read().split()]
    runs = {job.run for job in SqliteJobQueue(path).list_jobs()}
    assert {f"run-{number}" for number in confirmed} <= runs


def test_a_damaged_job_stops_the_reader(tmp_path: Path):
    queue = SqliteJobQueue(tmp_path / "queue.sqlite")
    job = queue.submit(build_job())
    with sqlite3.connect(tmp_path / "queue.sqlite") as file:
        file.execute("update jobs set content = '{}'")
    with pytest.raises(CorruptedError, match="cannot be read"):
        queue.get_job(job.id)
    (tmp_path / "other.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptedError, match="damaged"):
        SqliteJobQueue(tmp_path / "other.sqlite")


def test_a_reader_leaves_no_file_and_needs_a_queue(tmp_path: Path):
    path = tmp_path / "queue.sqlite"
    with pytest.raises(Unavailable, match="cannot be read"):
        SqliteJobQueue(path, read_only=True)
    job = SqliteJobQueue(path).submit(build_job())
    reader = SqliteJobQueue(path, read_only=True)
    assert reader.get_job(job.id) == job
    with pytest.raises(Unavailable, match="readonly"):
        reader.submit(build_job(2))
    assert [item.name for item in tmp_path.iterdir()] == ["queue.sqlite"]

"""The warm server and its children, without servers: what a child inherits, and how each end is reported."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.jobs import build_assignment, build_job, write_project
from wellspring.errors import Unavailable
from wellspring.project import load_project
from wellspring.runtime.privileges import service_environment
from wellspring.worker.job_attempt import JobAttempt
from wellspring.worker.warm_client import WarmClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="module")
def warm(root: Path) -> Iterator[WarmClient]:
    client = WarmClient(root, service_environment(load_project(root, environ={}), "worker"))
    client.wait_ready()
    yield client
    client.close()


class WaitingChild:
    """A child that waits for its job."""

    def __init__(self, warm: WarmClient, number: int) -> None:
        request_reader, self.request_writer = os.pipe()
        events_reader, events_writer = os.pipe()
        self.events = os.fdopen(events_reader, "rb")
        self.child = warm.start_child(f"{number:012x}", "job", (request_reader, events_writer))
        os.close(request_reader)
        os.close(events_writer)

    def close(self) -> None:
        os.close(self.request_writer)
        self.events.close()


@pytest.fixture
def waiting(warm: WarmClient, request: pytest.FixtureRequest) -> Iterator[WaitingChild]:
    child = WaitingChild(warm, hash(request.node.name) & 0xFFFF)
    yield child
    child.child.signal_group(signal.SIGKILL)
    assert child.child.wait_ended(10)
    child.close()


def test_a_child_has_no_descriptor_but_its_two_and_no_thread(waiting: WaitingChild):
    process = Path(f"/proc/{waiting.child.pid}")
    wait_until(lambda: os.getpgid(waiting.child.pid) == waiting.child.pid)
    wait_until(lambda: len(list((process / "fd").iterdir())) == 5)
    targets = {path.name: os.readlink(path) for path in (process / "fd").iterdir()}
    assert [targets[name] for name in ("0", "1", "2")] == ["/dev/null"] * 3
    assert [targets[name].partition(":")[0] for name in ("3", "4")] == ["pipe", "pipe"]
    wait_until(lambda: (process / "comm").read_text() == "job\n")
    assert len(list((process / "task").iterdir())) == 1


def test_the_warm_server_has_only_threads_that_survive_a_fork_and_no_credential(warm: WarmClient, root: Path):
    process = Path(f"/proc/{warm.pid}")
    names = [(task / "comm").read_text().strip() for task in (process / "task").iterdir()]
    # Those of OpenBLAS have the name of the process, and at most one for each core.
    assert len([name for name in names if name != "jemalloc_bg_thd"]) <= (os.cpu_count() or 1)
    variables = dict(item.split("=", 1) for item in (process / "environ").read_text().split("\0") if item)
    assert variables.keys() <= service_environment(load_project(root, environ={}), "worker").keys()


def test_a_killed_child_is_reported_with_its_signal_and_its_group_is_gone(waiting: WaitingChild):
    os.kill(waiting.child.pid, signal.SIGKILL)
    assert waiting.child.wait_ended(10)
    assert (waiting.child.status, waiting.child.is_lost) == (-9, False)
    with pytest.raises(ProcessLookupError):
        os.killpg(waiting.child.pid, 0)


def test_a_child_without_a_job_ends(waiting: WaitingChild, warm: WarmClient):
    second = WaitingChild(warm, 77)
    second.close()
    assert second.child.wait_ended(10)
    assert second.child.status == 1


def test_a_job_without_servers_ends_with_its_error(warm: WarmClient, root: Path):
    assignment = build_assignment(build_job(5))
    outcome = JobAttempt(warm, assignment.job, lambda *_: None).run_attempt(assignment)
    assert outcome.error is not None
    assert outcome.error["slug"] == "unavailable"
    assert list((root / ".wellspring/tmp/worker").iterdir()) == []
    # Each resource was held by this attempt.
    assert {path.name for path in (root / ".wellspring/jobs/locks").glob("*.number")} >= {
        "built.number",
        "landed.number",
    }


def test_a_child_that_eats_all_memory_ends_alone(warm: WarmClient):
    assignment = build_assignment(build_job(6), memory_bytes=1 << 20)
    outcome = JobAttempt(warm, assignment.job, lambda *_: None).run_attempt(assignment)
    assert outcome.error is not None
    assert outcome.error["what"] == "the job needs more memory than its limit of 1 MB"
    assert warm.is_alive()


def test_with_the_warm_server_its_children_end(root: Path):
    client = WarmClient(root, service_environment(load_project(root, environ={}), "worker"))
    waiting = WaitingChild(client, 9)
    os.kill(client.pid, signal.SIGKILL)
    assert waiting.child.wait_ended(10)
    assert waiting.child.is_lost
    wait_until(lambda: not Path(f"/proc/{waiting.child.pid}/exe").exists())
    assert not client.is_alive()
    with pytest.raises(Unavailable):
        client.start_child("1", "query", (0, 1))
    waiting.close()
    client.close()


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")

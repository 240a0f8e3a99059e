"""Jobs on the real servers: processes that are killed, jobs that are cancelled, submitted twice, forbidden."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from examples.health_plan import drops, population
from tests.builders.journeys import ProjectFixture
from tests.builders.process_watch import list_jobs
from tests.builders.projects import run_as
from wellspring.embedded.job_client import is_worker_ready
from wellspring.runtime.process_identity import is_same_process
from wellspring.runtime.run_state import ServerState, read_run_state
from wellspring.runtime.service_users import read_service_users

pytestmark = pytest.mark.live

PEOPLE, LINES = drops.people(200), 40


def send_claims(project: ProjectFixture, number: int) -> str:
    """Put a file into the outbox as a vendor does; return its name."""
    table = population.claims(LINES, number, people=PEOPLE, first=number * LINES)
    return population.write_csv(table, project.outbox / f"medical_claim_{number:04d}.csv").name


@contextmanager
def stopped_enclave(project: ProjectFixture) -> Iterator[None]:
    """Stop the enclave's process, so that an ingest waits for it."""
    pid = read_pid(project, "enclave")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def read_state(project: ProjectFixture, server: str) -> ServerState:
    running = read_run_state(project.project)
    assert running is not None
    return running.servers[server]


def read_pid(project: ProjectFixture, server: str) -> int:
    return read_state(project, server).pid


def warm_server(project: ProjectFixture) -> psutil.Process:
    (warm,) = psutil.Process(read_pid(project, "worker")).children()
    return warm


def submit(project: ProjectFixture, *words: str) -> dict[str, Any]:
    output = project.run("run", *words, "--no-wait", "--json")
    assert output.code == 0, output.err
    return output.document


def show(project: ProjectFixture, job: dict[str, Any]) -> dict[str, Any]:
    return project.run("job", "show", job["id"], "--json").document


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)
    return value


def follow(project: ProjectFixture, job: dict[str, Any]) -> dict[str, Any]:
    output = project.run("job", "follow", job["id"], "--json")
    return output.document if output.code == 0 else output.error


def test_each_entry_of_a_job_names_the_job_its_caller_and_its_trace(project: ProjectFixture):
    send_claims(project, 1)
    job = submit(project, "ingest", "clearinghouse", "--run", "first")
    ended = follow(project, job)
    assert (ended["state"], ended["attempts"], ended["principal"]) == ("succeeded", 1, "service:owner")
    entries = [entry for entry in project.list_entries("publish") if entry["service"].startswith("worker")]
    assert entries
    for entry in entries:
        assert entry["facts"]["job"] == job["id"]
        assert entry["facts"]["principal"] == "service:owner"
        assert (entry["trace"], entry["actor"]) == (job["trace"], "service:worker")


def test_a_run_id_is_one_job_however_often_it_is_submitted(project: ProjectFixture):
    first = submit(project, "ingest", "clearinghouse", "--run", "first")
    assert (first["state"], follow(project, first)["id"]) == ("succeeded", first["id"])
    output = project.run("run", "prove", "drop:1", "--run", "first")
    assert (output.code, "other content" in output.err) == (77, True)
    assert project.run("run", "ingest", "--run", "first").code == 66


def test_a_command_whose_job_is_killed_says_so_and_the_next_one_completes_it(project: ProjectFixture):
    send_claims(project, 2)
    with stopped_enclave(project):
        job = submit(project, "ingest", "clearinghouse")
        (child,) = wait_until(lambda: list_jobs(warm_server(project)))
        child.kill()
        wait_until(lambda: show(project, job)["state"] != "running")
    # The job may be repeated: it is, after its back-off.
    ended = follow(project, job)
    assert (ended["state"], ended["attempts"]) == ("succeeded", 2)
    assert project.ingest(code=3)["files"] == {}


@pytest.mark.parametrize("victim", ["warm server", "worker"])
def test_a_job_goes_on_after_the_worker_was_killed(project: ProjectFixture, victim: str):
    send_claims(project, len(victim))
    with stopped_enclave(project):
        job = submit(project, "ingest", "clearinghouse")
        (child,) = wait_until(lambda: list_jobs(warm_server(project)))
        killed = warm_server(project) if victim == "warm server" else psutil.Process(read_pid(project, "worker"))
        killed.kill()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        if victim == "worker":
            # The supervisor restarts it.
            wait_until(lambda: is_same_process(read_state(project, "worker")) and is_worker_ready(project.project))
            assert [item["id"] for item in project.run("job", "list", "--json").document] == [job["id"]]
    ended = follow(project, job)
    assert (ended["state"], ended["attempts"]) == ("succeeded", 2)


def test_a_job_that_is_cancelled_half_done_is_completed_by_the_next(project: ProjectFixture):
    send_claims(project, 4)
    with stopped_enclave(project):
        job = submit(project, "ingest", "clearinghouse")
        (child,) = wait_until(lambda: list_jobs(warm_server(project)))
        assert project.run("job", "cancel", job["id"]).code == 0
        wait_until(lambda: show(project, job)["state"] == "cancelled")
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert follow(project, job)["error"] == "refused"
    assert "medical_claim_0004.csv" in project.ingest()["files"]
    project.accounts()


def test_a_query_does_not_wait_for_a_job(project: ProjectFixture):
    with stopped_enclave(project):
        job = submit(project, "ingest", "clearinghouse")
        wait_until(lambda: list_jobs(warm_server(project)))
        assert project.accounts()
        assert project.run("finding", "list").code == 0
        assert project.run("users", "list").code == 0
    assert follow(project, job)["state"] == "succeeded"


def test_a_policy_that_is_revoked_while_the_job_waits_refuses_it(project: ProjectFixture):
    toml, policies = project.root / "wellspring.toml", project.root / "policies"
    before = toml.read_text()
    with stopped_enclave(project):
        running = submit(project, "ingest", "clearinghouse")
        waiting = submit(project, "ingest", "clearinghouse")
        # It logs in after the policies were asked, and then has a thread for the renewal.
        wait_until(lambda: [child for child in list_jobs(warm_server(project)) if child.num_threads() > 1])
        policies.mkdir()
        (policies / "jobs.cedar").write_text('permit (principal, action == Action::"transform", resource);')
        toml.write_text(before + "[models]\n")
        output = project.run("ingest")
    try:
        assert (output.code, "service:owner may not ingest" in output.err) == (77, True)
        assert follow(project, running)["state"] == "succeeded"
        assert follow(project, waiting)["error"] == "refused"
        assert show(project, waiting)["state"] == "refused"
    finally:
        toml.write_text(before)
        (policies / "jobs.cedar").unlink()
        policies.rmdir()
    project.ingest(code=3)
    (refusal,) = project.list_entries("authorize", job=waiting["id"])
    assert (refusal["phase"], refusal["service"].partition("-")[0]) == ("refused", "worker")
    assert [entry["service"] for entry in project.list_entries("authorize", kind="ingest")].count("dispatcher") == 1


def test_a_second_worker_is_refused(project: ProjectFixture):
    code = (
        "import socket\nfrom wellspring.errors import Unavailable\nfrom wellspring.worker import app\n"
        "own, remote = socket.socketpair()\n"
        "try:\n    app.run_worker_service(project, own, app.CredentialClient(remote), None)\n"
        "except Unavailable as error:\n    print(error.what)"
    )
    ran = run_as(project.project, "worker", code)
    assert ran.stdout.startswith("another process holds worker: pid "), ran.stderr


def test_code_of_the_project_submits_no_job(project: ProjectFixture):
    if os.geteuid() != 0:
        pytest.skip("all services share one user")
    code = (
        "from wellspring.embedded import job_client\nfrom wellspring.errors import WellspringError\n"
        "try:\n    job_client.submit_job(project, 'ingest', 'clearinghouse')\n"
        "except WellspringError as error:\n    print(error.slug)"
    )
    ran = run_as(project.project, "worker", code)
    assert ran.stdout == "refused\n", ran.stderr
    assert psutil.Process(read_pid(project, "worker")).uids().real == read_service_users(project.project).uid_of(
        "worker"
    )
    # The descriptors of the worker, among them the socket of credentials, are closed to other processes of its user.
    path = f"/proc/{read_pid(project, 'worker')}/fd/0"
    code = f"import os\ntry:\n    os.readlink('{path}')\nexcept OSError as error:\n    print(error.errno)"
    assert run_as(project.project, "worker", code).stdout == f"{errno.EACCES}\n"

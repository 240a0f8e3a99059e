"""The commands `job` and `run`, with the worker up and down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run
from tests.builders.jobs import build_job
from wellspring.bootstrap.job_ports import open_job_queue
from wellspring.embedded import job_client
from wellspring.errors import Refused, encode_error
from wellspring.project import load_project
from wellspring.records.jobs import Job

JOB_ID = build_job().id


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand for the worker: `worker.job` is what it answers, `worker.requests` what it got."""

    class Worker:
        job: Job = build_job()
        requests: list[dict[str, Any]] = []

        def send_job_request(self, project: Any, request: dict[str, Any]) -> dict[str, Any]:
            self.requests.append(request)
            document = self.job.model_dump(mode="json")
            return {"jobs": [document]} if request["op"] == "list" else {"job": document}

    worker = Worker()
    worker.requests = []
    monkeypatch.setattr(job_client, "is_worker_alive", lambda project: True)
    monkeypatch.setattr(job_client, "send_job_request", worker.send_job_request)
    monkeypatch.setattr(job_client, "follow_job", lambda project, job_id, on_event: worker.job)
    return worker


def test_jobs_are_listed_and_shown(run: Run, root: Path, worker: Any):
    output = run("job", "list", "--project", root)
    assert output.out.splitlines()[2].split()[:4] == [JOB_ID, "ingest", "vendor", "queued"]
    assert output.out.splitlines()[-1] == f"next: wellspring job show {JOB_ID}"
    output = run("job", "show", JOB_ID, "--project", root)
    assert "service:owner" in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring job follow {JOB_ID}"
    assert run("job", "list", "--all", "--json", "--project", root).document[0]["id"] == JOB_ID
    assert [request.get("states") for request in worker.requests] == [["queued", "running"], None, None]


def test_a_job_is_cancelled_and_queued_again(run: Run, root: Path, worker: Any):
    assert "is being cancelled" in run("job", "cancel", JOB_ID, "--project", root).out
    worker.job = build_job(state="cancelled")
    assert "is cancelled" in run("job", "cancel", JOB_ID, "--project", root).out
    assert "is queued again" in run("job", "retry", JOB_ID, "--project", root).out
    assert [request["op"] for request in worker.requests] == ["cancel", "cancel", "retry"]


def test_a_followed_job_ends_with_its_exit_code(run: Run, root: Path, worker: Any):
    worker.job = build_job(state="succeeded", attempts=2, result={"rows": 1})
    assert "has succeeded, after 2 attempts" in run("job", "follow", JOB_ID, "--project", root).out
    worker.job = build_job(state="refused", error=encode_error(Refused("no", fix="ask")))
    output = run("job", "follow", JOB_ID, "--project", root)
    assert (output.code, output.err) == (77, "refused: no\nfix: ask\n")


def test_run_submits_with_its_run_id_and_follows(run: Run, root: Path, worker: Any):
    worker.job = build_job(state="succeeded")
    output = run("run", "ingest", "vendor", "--run", "nightly-1", "--param", "a=b=c", "--json", "--project", root)
    assert (output.code, output.document["state"]) == (0, "succeeded")
    (request,) = worker.requests
    assert (request["kind"], request["subject"], request["run"]) == ("ingest", "vendor", "nightly-1")
    assert request["parameters"] == {"a": "b=c"}
    assert "is_interactive" not in request
    assert run("run", "ingest", "--no-wait", "--project", root).code == 0
    run("run", "train", "denials", "--project", root)
    assert worker.requests[-1]["parameters"].keys() == {"revision"}


def test_a_job_of_the_plan_runs_by_its_name(run: Run, root: Path, worker: Any):
    path = root / "wellspring.toml"
    path.write_text(path.read_text() + '\n[jobs.claims]\nkind = "ingest"\nsubject = "clearinghouse"\n')
    worker.job = build_job(state="succeeded")
    assert run("run", "claims", "--project", root).code == 0
    assert run("run", "claims", "--run", "mine", "--project", root).code == 0
    first, second = worker.requests
    assert (first["kind"], first["subject"]) == ("ingest", "clearinghouse")
    assert first["run"].startswith("claims@20")
    assert second["run"] == "mine"


def test_a_parameter_without_a_value_is_wrong_usage(run: Run, root: Path, worker: Any):
    assert run("run", "ingest", "--param", "a", "--project", root).code == 64
    assert worker.requests == []


def test_a_parameter_is_neither_repeated_nor_echoed(run: Run, root: Path, worker: Any):
    for words in (["--param", "a=1", "--param", "a=2"], ["--param", "536-90-4399"], ["--param", "=536-90-4399"]):
        output = run("run", "ingest", "vendor", *words, "--project", root)
        assert output.code == 64
        assert "536-90-4399" not in output.err + output.out


def test_a_list_that_has_its_limit_says_so(run: Run, root: Path, worker: Any):
    listed = run("job", "list", "--all", "--limit", "1", "--project", root).out
    assert "these are the newest 1; there may be more" in listed
    assert "there may be more" not in run("job", "list", "--all", "--project", root).out


def test_with_the_worker_down_the_queue_is_read_and_nothing_is_submitted(run: Run, root: Path):
    assert run("job", "list", "--project", root).out.startswith("no job waits or runs")
    project = load_project(root)
    project.jobs_dir.mkdir(parents=True)
    queue = open_job_queue(project)
    queue.submit(build_job())
    queue.close()
    assert run("job", "list", "--json", "--project", root).document[0]["id"] == JOB_ID
    assert run("job", "show", JOB_ID, "--json", "--project", root).document["run"] == "run-1"
    assert run("job", "show", "f" * 12, "--project", root).code == 66
    for words in (["run", "ingest", "vendor"], ["job", "follow", JOB_ID], ["job", "cancel", JOB_ID]):
        output = run(*words, "--project", root)
        assert (output.code, output.err.splitlines()[1]) == (69, "fix: run `wellspring up`")

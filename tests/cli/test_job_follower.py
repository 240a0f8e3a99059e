"""A command submits its job, shows the progress and returns the result; Ctrl-C asks once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click
import pytest

from tests.builders.jobs import NOON, build_job
from wellspring.cli import job_follower
from wellspring.embedded import job_client
from wellspring.errors import Refused, WellspringError, encode_error
from wellspring.project import Project, load_project
from wellspring.records.jobs import Job, JobEvent


class ScriptedClient:
    """Stands for the worker. ends: what each call of follow_job does."""

    def __init__(self, *ends: Job | BaseException) -> None:
        self.ends = list(ends)
        self.submitted: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []

    def submit_job(self, project: Project, kind: str, subject: str, **fields: Any) -> Job:
        self.submitted.append({"kind": kind, "subject": subject, **fields})
        return build_job()

    def send_job_request(self, project: Project, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        return {}

    def follow_job(self, project: Project, job_id: str, on_event: Any) -> Job:
        on_event(JobEvent(at=NOON, attempt=1, event="started"))
        on_event(JobEvent(at=NOON, attempt=1, event="progress", stage="fetch", done=1, total=2))
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


@pytest.fixture
def project(root: Path) -> Project:
    return load_project(root)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    def script(*ends: Job | BaseException) -> ScriptedClient:
        client = ScriptedClient(*ends)
        for name in ("submit_job", "send_job_request", "follow_job"):
            monkeypatch.setattr(job_client, name, getattr(client, name))
        return client

    return script


def test_the_result_is_returned_and_the_progress_is_shown(project: Project, script: Any):
    client, drawn = script(build_job(state="succeeded", result=[1])), list[Any]()
    result = job_follower.run_job(project, "ingest", "vendor", on_progress=lambda *event: drawn.append(event))
    assert (result, drawn) == ([1], [("fetch", 1, 2)])
    (submitted,) = client.submitted
    assert submitted["is_interactive"]


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_the_error_of_the_job_is_raised(project: Project, script: Any, state: str):
    script(build_job(state=state, error=encode_error(Refused("no", fix="ask"))))
    with pytest.raises(Refused, match="no"):
        job_follower.run_job(project, "ingest")


def test_a_job_without_a_result_or_an_error_is_an_error(project: Project, script: Any):
    script(build_job(state="cancelled"))
    with pytest.raises(WellspringError, match="is cancelled"):
        job_follower.run_job(project, "ingest")


def test_ctrl_c_without_a_terminal_leaves_the_job_running(
    project: Project, script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    client = script(KeyboardInterrupt())
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(click.Abort):
        job_follower.run_job(project, "ingest")
    assert f"the job goes on: wellspring job follow {build_job().id}" in capsys.readouterr().err
    assert client.requests == []


@pytest.mark.parametrize(("answer", "cancelled"), [(True, True), (False, False)])
def test_ctrl_c_at_a_terminal_asks_once(
    project: Project, script: Any, monkeypatch: pytest.MonkeyPatch, answer: bool, cancelled: bool
):
    client = script(KeyboardInterrupt(), build_job(state="cancelled", error=encode_error(Refused("off", fix="x"))))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: answer)
    with pytest.raises(Refused if cancelled else click.Abort):
        job_follower.run_job(project, "ingest")
    assert [request["op"] for request in client.requests] == ["cancel"] * cancelled

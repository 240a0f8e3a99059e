"""A query goes to the worker; while it is down, a process answers: its result, its error, and an unexpected end."""

import sys
from pathlib import Path
from typing import Any

import pytest

from wellspring.cli import worker_client as module
from wellspring.cli.trace import begin_trace
from wellspring.cli.worker_client import run_query, run_worker
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project, load_project
from wellspring.runtime import privileges


@pytest.fixture
def project(root: Path) -> Project:
    """A project whose servers are down."""
    return load_project(root)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the worker by a few lines of Python; `request` is the line on its standard input."""

    def play(code: str) -> None:
        start = "import json, sys\nrequest = json.loads(sys.stdin.readline())\n"
        start += "def emit(**event): print(json.dumps(event), flush=True)\n"
        monkeypatch.setattr(
            privileges, "service_command", lambda project, service, argv: [sys.executable, "-c", start + code]
        )

    return play


def test_the_result_is_returned(project: Project, play: Any):
    play("emit(event='result', value={'got': request['query']})")
    assert run_worker(project, "accounts", offline=True) == {"got": "accounts"}


def test_a_query_goes_to_the_worker(project: Project, monkeypatch: pytest.MonkeyPatch):
    traces: list[str] = []

    def send_query(_: Any, *words: Any, trace: str) -> list[Any]:
        traces.append(trace)
        return list(words)

    monkeypatch.setattr(module, "send_query", send_query)
    assert run_worker(project, "history", "denials", params={"instant": "now"}) == [
        "history",
        "denials",
        {"instant": "now"},
    ]
    monkeypatch.setattr(module, "is_worker_alive", lambda project: True)
    with begin_trace({"TRACEPARENT": f"00-{'ab' * 16}-{'cd' * 8}-01"}):
        assert run_worker(project, "findings", offline=True) == ["findings", "", {}]
    assert traces[1] == "ab" * 16 != traces[0]


def test_the_environment_is_not_inherited(project: Project, play: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    play("import os\nemit(event='result', value=sorted(os.environ))")
    assert "AWS_SECRET_ACCESS_KEY" not in run_worker(project, "accounts", offline=True)


@pytest.mark.parametrize("kind", [NotFound, Unavailable, CorruptedError])
def test_an_error_of_the_job_is_raised(project: Project, play: Any, kind: type[WellspringError]):
    play(f"emit(event='error', slug={kind.slug!r}, what='it', fix='that', verdict=None); sys.exit(5)")
    with pytest.raises(kind) as raised:
        run_worker(project, "accounts", offline=True)
    assert (raised.value.what, raised.value.fix) == ("it", "that")


def test_a_refusal_keeps_its_verdict(project: Project, play: Any):
    play(
        "emit(event='error', slug='refused', what='it', fix='that', verdict={'subject': 'drop:1', 'outcome': 'fail', "
        "'reasons': [{'code': 'enum', 'message': 'w', 'column': 'c', 'count': 2}]}); sys.exit(77)"
    )
    with pytest.raises(Refused) as raised:
        run_worker(project, "quarantined", "1", offline=True)
    assert raised.value.verdict is not None
    assert raised.value.verdict.reasons[0].code == "enum"


def test_a_crash_is_reported_without_the_exception_text(project: Project, play: Any):
    play("raise ValueError('Jane Doe 900-12-3456')")
    with pytest.raises(WellspringError, match=r"ended unexpectedly \(exit 1\): ValueError$") as raised:
        run_worker(project, "accounts", offline=True)
    assert "Jane" not in raised.value.what + raised.value.fix


def test_a_killed_worker_is_reported_with_its_signal(project: Project, play: Any):
    play("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WellspringError, match="signal 9"):
        run_worker(project, "accounts", offline=True)


def test_a_worker_that_ends_without_a_result_is_an_error(project: Project, play: Any):
    play("sys.exit(0)")
    with pytest.raises(WellspringError, match="ended unexpectedly"):
        run_worker(project, "accounts", offline=True)


def test_long_standard_error_does_not_block(project: Project, play: Any):
    play("sys.stderr.write('warning: again\\n' * 100_000); emit(event='result', value=1)")
    assert run_worker(project, "accounts", offline=True) == 1


def test_with_servers_down_no_process_is_started(root: Path, monkeypatch: pytest.MonkeyPatch):
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(module.subprocess, "run", started)
    with pytest.raises(Unavailable, match="not up") as raised:
        run_worker(load_project(root), "accounts")
    assert raised.value.fix == "run `wellspring up`"


def test_an_offline_query_runs_without_a_credential(root: Path, play: Any):
    play("emit(event='result', value=request['credential'])")
    assert run_worker(load_project(root), "findings", offline=True) is None


def test_params_are_sent_over_the_pipe(project: Project, play: Any):
    play("emit(event='result', value=[request['parameters'], sys.argv])")
    output = run_query(project, "history", "denials", params={"instant": "now"}, offline=True)
    assert output == [{"instant": "now"}, ["-c"]]


def test_a_job_is_submitted_and_followed(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "wellspring.cli.job_follower.run_job", lambda project, kind, subject, **_: f"result of {kind} {subject}"
    )
    assert run_worker(project, "ingest", "clearinghouse") == "result of ingest clearinghouse"


def test_a_pack_is_written_without_the_worker_if_its_story_is_sealed(project: Project, play: Any):
    play("emit(event='result', value=sys.argv[-1])")
    assert run_worker(project, "prove", "drop:1", offline=True) == "-c"
    with pytest.raises(Unavailable, match="not up"):
        run_worker(project, "prove", "drop:1")

"""A query in a process of the worker: its result, its error, and an unexpected end."""

import sys
from pathlib import Path
from typing import Any

import pytest

from wellspring.cli import worker_client as module
from wellspring.cli.worker_client import run_query, run_worker
from wellspring.embedded import control_socket
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project, load_project
from wellspring.runtime import privileges


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose supervisor issues a credential."""
    monkeypatch.setattr(control_socket, "request_credential", lambda project, role: {"role_id": role, "wrapped": "w"})
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
    play("emit(event='result', value={'got': request['credential']['role_id']})")
    assert run_worker(project, "accounts") == {"got": "worker"}


def test_the_credential_is_sent_over_the_pipe_and_not_in_the_arguments(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    observed: list[list[str]] = []

    def command(project: Project, service: str, argv: list[str]) -> list[str]:
        assert service == "worker"
        observed.append(argv)
        return [sys.executable, "-c", "import json; print(json.dumps({'event': 'result', 'value': input()}))"]

    monkeypatch.setattr(privileges, "service_command", command)
    monkeypatch.setattr(
        control_socket, "request_credential", lambda project, role: {"role_id": "r-1", "wrapped": "s.secret"}
    )
    assert "s.secret" in run_worker(project, "quarantined", "drop-1")
    assert observed == [
        [
            sys.executable,
            "-P",
            "-m",
            "wellspring.worker.query_process",
            "quarantined",
            "drop-1",
            "--project",
            str(project.root),
        ]
    ]


def test_the_environment_is_not_inherited(project: Project, play: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    play("import os\nemit(event='result', value=sorted(os.environ))")
    assert "AWS_SECRET_ACCESS_KEY" not in run_worker(project, "accounts")


@pytest.mark.parametrize("kind", [NotFound, Unavailable, CorruptedError])
def test_an_error_of_the_job_is_raised(project: Project, play: Any, kind: type[WellspringError]):
    play(f"emit(event='error', slug={kind.slug!r}, what='it', fix='that', verdict=None); sys.exit(5)")
    with pytest.raises(kind) as raised:
        run_worker(project, "accounts")
    assert (raised.value.what, raised.value.fix) == ("it", "that")


def test_a_refusal_keeps_its_verdict(project: Project, play: Any):
    play(
        "emit(event='error', slug='refused', what='it', fix='that', verdict={'subject': 'drop:1', 'outcome': 'fail', "
        "'reasons': [{'code': 'enum', 'message': 'w', 'column': 'c', 'count': 2}]}); sys.exit(77)"
    )
    with pytest.raises(Refused) as raised:
        run_worker(project, "quarantined", "1")
    assert raised.value.verdict is not None
    assert raised.value.verdict.reasons[0].code == "enum"


def test_a_crash_is_reported_without_the_exception_text(project: Project, play: Any):
    play("raise ValueError('Jane Doe 900-12-3456')")
    with pytest.raises(WellspringError, match=r"ended unexpectedly \(exit 1\): ValueError$") as raised:
        run_worker(project, "accounts")
    assert "Jane" not in raised.value.what + raised.value.fix


def test_a_killed_worker_is_reported_with_its_signal(project: Project, play: Any):
    play("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WellspringError, match="signal 9"):
        run_worker(project, "accounts")


def test_a_worker_that_ends_without_a_result_is_an_error(project: Project, play: Any):
    play("sys.exit(0)")
    with pytest.raises(WellspringError, match="ended unexpectedly"):
        run_worker(project, "accounts")


def test_long_standard_error_does_not_block(project: Project, play: Any):
    play("sys.stderr.write('warning: again\\n' * 100_000); emit(event='result', value=1)")
    assert run_worker(project, "accounts") == 1


def test_with_servers_down_no_process_is_started(root: Path, monkeypatch: pytest.MonkeyPatch):
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(module.subprocess, "Popen", started)
    with pytest.raises(Unavailable, match="not up") as raised:
        run_worker(load_project(root), "accounts")
    assert raised.value.fix == "run `wellspring up`"


def test_an_offline_query_runs_without_a_credential(root: Path, play: Any):
    play("emit(event='result', value=request['credential'])")
    assert run_worker(load_project(root), "findings", offline=True) is None


def test_params_are_sent_over_the_pipe(project: Project, play: Any):
    play("emit(event='result', value=[request['params'], sys.argv])")
    assert run_query(project, "history", "denials", params={"instant": "now"}) == [{"instant": "now"}, ["-c"]]


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

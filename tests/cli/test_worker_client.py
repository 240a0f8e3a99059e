"""A run in a process of its own, followed to its end: its result, its error in the house's words, its death."""

import sys
from pathlib import Path
from typing import Any

import pytest

from wellspring.cli import worker_client as module
from wellspring.cli.worker_client import run_worker
from wellspring.embedded import control_socket
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project, load_project
from wellspring.runtime import privileges


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose supervisor hands out a credential."""
    monkeypatch.setattr(control_socket, "request_credential", lambda project, role: {"role_id": role, "wrapped": "w"})
    return load_project(root)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a few lines of Python stand in for the worker; `told` is the line that it was born with."""

    def play(code: str) -> None:
        start = "import json, sys\ntold = json.loads(sys.stdin.readline())\n"
        start += "def emit(**event): print(json.dumps(event), flush=True)\n"
        monkeypatch.setattr(
            privileges, "service_command", lambda project, service, argv: [sys.executable, "-c", start + code]
        )

    return play


def test_the_result_comes_back_and_progress_is_told(project: Project, play: Any):
    play(
        "emit(event='progress', stage='fetch', done=1, total=2)\n"
        "emit(event='progress', stage='fetch', done=2, total=2)\n"
        "emit(event='result', value={'got': told['credential']['role_id']})"
    )
    drawn: list[tuple[str, int, int]] = []
    assert run_worker(project, "ingest", on_progress=lambda *result: drawn.append(result)) == {"got": "worker"}
    assert drawn == [("fetch", 1, 2), ("fetch", 2, 2)]


def test_the_credential_goes_over_the_pipe_and_never_into_the_arguments(
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
    assert "s.secret" in run_worker(project, "replay", "drop-1")
    assert observed == [
        [sys.executable, "-P", "-m", "wellspring.worker", "replay", "drop-1", "--project", str(project.root)]
    ]


def test_nothing_of_our_environment_reaches_the_run(project: Project, play: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    play("import os\nemit(event='result', value=sorted(os.environ))")
    assert "AWS_SECRET_ACCESS_KEY" not in run_worker(project, "ingest")


@pytest.mark.parametrize("kind", [NotFound, Unavailable, CorruptedError])
def test_what_the_run_raised_is_raised_here(project: Project, play: Any, kind: type[WellspringError]):
    play(f"emit(event='error', slug={kind.slug!r}, what='it', fix='that', verdict=None); sys.exit(5)")
    with pytest.raises(kind) as raised:
        run_worker(project, "ingest")
    assert (raised.value.what, raised.value.fix) == ("it", "that")


def test_a_refusal_keeps_its_verdict(project: Project, play: Any):
    play(
        "emit(event='error', slug='refused', what='it', fix='that', verdict={'subject': 'drop:1', 'outcome': 'fail', "
        "'reasons': [{'code': 'enum', 'what': 'w', 'column': 'c', 'count': 2}]}); sys.exit(77)"
    )
    with pytest.raises(Refused) as raised:
        run_worker(project, "replay", "1")
    assert raised.value.verdict is not None
    assert raised.value.verdict.reasons[0].code == "enum"


def test_a_run_that_dies_is_told_without_its_words(project: Project, play: Any):
    play("raise ValueError('Jane Doe 900-12-3456')")
    with pytest.raises(WellspringError, match=r"ended unexpectedly \(exit 1\): ValueError$") as raised:
        run_worker(project, "ingest")
    assert "Jane" not in raised.value.what + raised.value.fix


def test_a_killed_run_is_told_as_killed(project: Project, play: Any):
    play("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WellspringError, match="signal 9"):
        run_worker(project, "ingest")


def test_a_run_that_ends_without_a_word_is_not_taken_for_done(project: Project, play: Any):
    play("sys.exit(0)")
    with pytest.raises(WellspringError, match="ended unexpectedly"):
        run_worker(project, "ingest")


def test_a_run_that_complains_at_length_does_not_hang(project: Project, play: Any):
    play("sys.stderr.write('warning: again\\n' * 100_000); emit(event='result', value=1)")
    assert run_worker(project, "ingest") == 1


def test_servers_that_are_down_stop_it_before_any_process_starts(root: Path, monkeypatch: pytest.MonkeyPatch):
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(module.subprocess, "Popen", started)
    with pytest.raises(Unavailable, match="not up") as raised:
        run_worker(load_project(root), "ingest", "clearinghouse")
    assert raised.value.fix == "run `wellspring up`"


def test_a_run_that_may_go_without_servers_is_born_with_null(root: Path, play: Any):
    play("emit(event='result', value=told['credential'])")
    assert run_worker(load_project(root), "prove", "drop:1", offline=True) is None


def test_what_a_run_is_given_goes_over_the_pipe(project: Project, play: Any):
    play("emit(event='result', value=[told['given'], sys.argv])")
    assert run_worker(project, "approve", "release:1", params={"token": "s.short"}) == [{"token": "s.short"}, ["-c"]]

"""One run of the worker: its one lock, its lines, its exit codes; the runs themselves are walked in tests/journeys/."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wellspring.errors import ERRORS_BY_SLUG, Refused, Unavailable
from wellspring.project import load_project
from wellspring.records.verdict import Reason, Verdict
from wellspring.worker import executor
from wellspring.worker.handlers import HANDLERS
from wellspring.worker.job_request import JobRequest

Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.mark.parametrize("run", sorted(HANDLERS.keys() - {"prove", "releases", "history", "enrolled", "findings"}))
def test_without_a_credential_a_job_that_needs_servers_is_unavailable(play: Play, run: str):
    code, lines = play(run, "vendor")
    assert code == 69
    assert lines == [
        {"event": "error", "slug": "unavailable", "what": "the servers of this project are not running",
         "fix": "run `wellspring up`", "verdict": None}
    ]  # fmt: skip


def test_progress_and_then_one_result(play: Play, monkeypatch: pytest.MonkeyPatch):
    def run(requests: JobRequest) -> Any:
        requests.progress("fetch", 1, 2)
        return {"subject": requests.subject}

    monkeypatch.setitem(HANDLERS, "ingest", run)
    assert play("ingest", "vendor") == (
        0,
        [
            {"event": "progress", "stage": "fetch", "done": 1, "total": 2},
            {"event": "result", "value": {"subject": "vendor"}},
        ],
    )


@pytest.mark.parametrize("slug", sorted(ERRORS_BY_SLUG))
def test_each_error_is_one_line_and_its_exit_code(play: Play, monkeypatch: pytest.MonkeyPatch, slug: str):
    def run(*_: Any) -> Any:
        raise ERRORS_BY_SLUG[slug]("it", fix="that")

    monkeypatch.setitem(HANDLERS, "ingest", run)
    code, lines = play("ingest")
    assert code == ERRORS_BY_SLUG[slug].exit_code
    assert [(line["event"], line["slug"], line["what"], line["fix"]) for line in lines] == [
        ("error", slug, "it", "that")
    ]


def test_a_refusal_carries_its_verdict(play: Play, monkeypatch: pytest.MonkeyPatch):
    verdict = Verdict(subject="drop:1", outcome="fail", reasons=(Reason(code="enum", message="w"),))

    def run(*_: Any) -> Any:
        raise Refused("it", fix="that", verdict=verdict)

    monkeypatch.setitem(HANDLERS, "replay", run)
    _, lines = play("replay", "1")
    assert Verdict.model_validate(lines[0]["verdict"]) == verdict


def test_it_is_confined_as_the_worker_before_the_run_begins(play: Play, root: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    monkeypatch.setattr(executor, "confine_process", lambda project, role: order.append(f"confined as {role}"))
    monkeypatch.setitem(HANDLERS, "accounts", lambda *_: order.append("run"))
    play("accounts")
    assert order == ["confined as worker", "run"]


def test_a_second_run_is_refused_while_one_is_under_way_and_free_after_it(play: Play, root: Path):
    with executor.hold_writer_lock(load_project(root)):
        code, lines = play("accounts")
        assert code == 69
        assert lines[0]["what"] == "another run is in progress in this project"
    _, lines = play("accounts")
    assert "not running" in lines[0]["what"]


def test_the_lock_is_let_go_when_a_run_fails(root: Path):
    with pytest.raises(KeyError), executor.hold_writer_lock(load_project(root)):
        raise KeyError
    with executor.hold_writer_lock(load_project(root)):
        pass


def test_a_project_that_was_never_started_is_unavailable_and_creates_no_file(root: Path):
    (root / ".wellspring").rmdir()
    with pytest.raises(Unavailable, match="never started"), executor.hold_writer_lock(load_project(root)):
        pass
    assert [path.name for path in root.iterdir()] == ["wellspring.toml"]


def test_what_libraries_print_never_mixes_with_our_lines(root: Path):
    code = (
        "import sys\nfrom wellspring.worker import executor\n"
        "executor.confine_process = lambda project, role: ''\n"
        "def noisy(request):\n"
        "    print('deprecated!'); import os; os.write(1, b'from C\\n'); return request.credential.role_id\n"
        "executor.HANDLERS['accounts'] = noisy\n"
        f"sys.exit(executor.main(['accounts', '--project', {str(root)!r}]))"
    )
    arguments = json.dumps({"credential": {"role_id": "r-1", "wrapped": "w"}}) + "\n"
    ran = subprocess.run(
        [sys.executable, "-c", code], input=arguments, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == '{"event": "result", "value": "r-1"}\n'
    assert "deprecated!" in ran.stderr
    assert "from C" in ran.stderr


@pytest.mark.parametrize("payload", ['{"credential": null}\n', "", "\n"])
def test_a_run_may_be_born_without_a_credential(root: Path, payload: str):
    code = (
        "import sys\nfrom wellspring.worker import executor\nexecutor.confine_process = lambda project, role: ''\n"
        "executor.HANDLERS['prove'] = lambda request: request.credential\n"
        f"sys.exit(executor.main(['prove', 'drop:1', '--project', {str(root)!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=payload, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == '{"event": "result", "value": null}\n', ran.stderr


def test_an_unknown_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        executor.main(["reveal", "--project", "/nowhere"])
    assert "invalid choice: 'reveal'" in capsys.readouterr().err

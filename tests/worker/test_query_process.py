"""A query: its line, its exit codes, its confinement."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wellspring.errors import ERRORS_BY_SLUG, Refused
from wellspring.records.verdict import Reason, Verdict
from wellspring.runtime.process import Credential
from wellspring.worker import query_process
from wellspring.worker.query_handlers import QUERY_HANDLERS, QueryRequest
from wellspring.worker.query_process import QueryAssignment, decode_assignment

Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.mark.parametrize(
    "run",
    sorted(
        QUERY_HANDLERS.keys() - {"sealed-pack", "releases", "history", "enrolled", "findings", "holds", "deployment"}
    ),
)
def test_without_a_credential_a_query_that_needs_servers_is_unavailable(play: Play, run: str):
    code, lines = play(run, "vendor")
    assert code == 69
    assert lines == [
        {"event": "error", "slug": "unavailable", "what": "the servers of this project are not running",
         "fix": "run `wellspring up`", "verdict": None}
    ]  # fmt: skip


def test_one_line_is_the_result(play: Play, monkeypatch: pytest.MonkeyPatch):
    def run(request: QueryRequest) -> Any:
        return {"subject": request.subject}

    monkeypatch.setitem(QUERY_HANDLERS, "accounts", run)
    assert play("accounts", "vendor") == (0, [{"event": "result", "value": {"subject": "vendor"}}])


@pytest.mark.parametrize("slug", sorted(ERRORS_BY_SLUG))
def test_each_error_is_one_line_and_its_exit_code(play: Play, monkeypatch: pytest.MonkeyPatch, slug: str):
    def run(*_: Any) -> Any:
        raise ERRORS_BY_SLUG[slug]("it", fix="that")

    monkeypatch.setitem(QUERY_HANDLERS, "accounts", run)
    code, lines = play("accounts")
    assert code == ERRORS_BY_SLUG[slug].exit_code
    assert [(line["event"], line["slug"], line["what"], line["fix"]) for line in lines] == [
        ("error", slug, "it", "that")
    ]


def test_a_refusal_carries_its_verdict(play: Play, monkeypatch: pytest.MonkeyPatch):
    verdict = Verdict(subject="drop:1", outcome="fail", reasons=(Reason(code="enum", message="w"),))

    def run(*_: Any) -> Any:
        raise Refused("it", fix="that", verdict=verdict)

    monkeypatch.setitem(QUERY_HANDLERS, "accounts", run)
    _, lines = play("accounts", "1")
    assert Verdict.model_validate(lines[0]["verdict"]) == verdict


def test_it_is_confined_as_the_worker_before_the_run_begins(play: Play, root: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    monkeypatch.setattr(query_process, "confine_process", lambda project, role: order.append(f"confined as {role}"))
    monkeypatch.setitem(QUERY_HANDLERS, "accounts", lambda *_: order.append("run"))
    play("accounts")
    assert order == ["confined as worker", "run"]


def test_a_project_that_was_never_started_is_unavailable_and_creates_no_file(play: Play, root: Path):
    (root / ".wellspring").rmdir()
    code, lines = play("accounts")
    assert (code, lines[0]["what"]) == (69, "the servers of this project were never started")
    assert [path.name for path in root.iterdir()] == ["wellspring.toml"]


def test_what_libraries_print_never_mixes_with_our_lines(root: Path):
    code = (
        "import sys\nfrom wellspring.worker import query_process\n"
        "query_process.confine_process = lambda project, role: ''\n"
        "def noisy(request):\n"
        "    print('deprecated!'); import os; os.write(1, b'from C\\n'); return request.credential.role_id\n"
        "query_process.QUERY_HANDLERS['accounts'] = noisy\n"
        f"sys.exit(query_process.main(['--project', {str(root)!r}]))"
    )
    line = QueryAssignment("accounts", "", {}, Credential("r-1", "w")).encode().decode()
    ran = subprocess.run(
        [sys.executable, "-c", code], input=line, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == '{"event": "result", "value": "r-1"}\n'
    assert "deprecated!" in ran.stderr
    assert "from C" in ran.stderr


def test_an_assignment_is_read_as_it_was_written():
    for credential in (None, Credential("r-1", "w")):
        assignment = QueryAssignment("history", "denials", {"instant": "now"}, credential)
        assert decode_assignment(assignment.encode().decode()) == assignment

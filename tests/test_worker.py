"""One run of the worker: its one lock, its lines, its exit codes; the runs themselves are walked in tests/journeys/."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.trust.test_approvals import release
from wellspring import worker
from wellspring.errors import ERRORS_BY_SLUG, Refused, Unavailable
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.spec import artifact
from wellspring.project import load_project
from wellspring.records.record import format_instant
from wellspring.records.verdict import Reason, Verdict

TOML = '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n'
Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "wellspring.toml").write_text(TOML)
    (tmp_path / ".wellspring").mkdir()
    return tmp_path


@pytest.fixture
def play(root: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Carry out one run in this process, which must not be confined for good."""
    monkeypatch.setattr(worker, "confine_process", lambda project, role: "")

    def play(
        run: str, subject: str = "", credential: Any = None, params: dict[str, Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        out = io.StringIO()
        code = worker.execute_job(Namespace(run=run, subject=subject, project=root), credential, out, params)
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    return play


@pytest.mark.parametrize("run", sorted(worker.HANDLERS.keys() - {"prove", "releases", "history", "enrolled"}))
def test_without_a_credential_a_job_that_needs_servers_is_unavailable(play: Play, run: str):
    code, lines = play(run, "vendor")
    assert code == 69
    assert lines == [
        {"event": "error", "slug": "unavailable", "what": "the servers of this project are not running",
         "fix": "run `wellspring up`", "verdict": None}
    ]  # fmt: skip


def test_progress_and_then_one_result(play: Play, monkeypatch: pytest.MonkeyPatch):
    def run(requests: worker.JobRequest) -> Any:
        requests.progress("fetch", 1, 2)
        return {"subject": requests.subject}

    monkeypatch.setitem(worker.HANDLERS, "ingest", run)
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

    monkeypatch.setitem(worker.HANDLERS, "ingest", run)
    code, lines = play("ingest")
    assert code == ERRORS_BY_SLUG[slug].exit_code
    assert [(line["event"], line["slug"], line["what"], line["fix"]) for line in lines] == [
        ("error", slug, "it", "that")
    ]


def test_a_refusal_carries_its_verdict(play: Play, monkeypatch: pytest.MonkeyPatch):
    verdict = Verdict(subject="drop:1", outcome="fail", reasons=(Reason(code="enum", message="w"),))

    def run(*_: Any) -> Any:
        raise Refused("it", fix="that", verdict=verdict)

    monkeypatch.setitem(worker.HANDLERS, "replay", run)
    _, lines = play("replay", "1")
    assert Verdict.model_validate(lines[0]["verdict"]) == verdict


def test_it_is_confined_as_the_worker_before_the_run_begins(play: Play, root: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    monkeypatch.setattr(worker, "confine_process", lambda project, role: order.append(f"confined as {role}"))
    monkeypatch.setitem(worker.HANDLERS, "accounts", lambda *_: order.append("run"))
    play("accounts")
    assert order == ["confined as worker", "run"]


def test_a_second_run_is_refused_while_one_is_under_way_and_free_after_it(play: Play, root: Path):
    with worker.hold_writer_lock(load_project(root)):
        code, lines = play("accounts")
        assert code == 69
        assert lines[0]["what"] == "another run is in progress in this project"
    _, lines = play("accounts")
    assert "not running" in lines[0]["what"]


def test_the_lock_is_let_go_when_a_run_fails(root: Path):
    with pytest.raises(KeyError), worker.hold_writer_lock(load_project(root)):
        raise KeyError
    with worker.hold_writer_lock(load_project(root)):
        pass


def test_a_project_that_was_never_started_is_unavailable_and_creates_no_file(root: Path):
    (root / ".wellspring").rmdir()
    with pytest.raises(Unavailable, match="never started"), worker.hold_writer_lock(load_project(root)):
        pass
    assert [path.name for path in root.iterdir()] == ["wellspring.toml"]


def test_what_libraries_print_never_mixes_with_our_lines(root: Path):
    code = (
        "import sys\nfrom wellspring import worker\n"
        "worker.confine_process = lambda project, role: ''\n"
        "def noisy(request):\n"
        "    print('deprecated!'); import os; os.write(1, b'from C\\n'); return request.credential.role_id\n"
        "worker.HANDLERS['accounts'] = noisy\n"
        f"sys.exit(worker.main(['accounts', '--project', {str(root)!r}]))"
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
        "import sys\nfrom wellspring import worker\nworker.confine_process = lambda project, role: ''\n"
        "worker.HANDLERS['prove'] = lambda request: request.credential\n"
        f"sys.exit(worker.main(['prove', 'drop:1', '--project', {str(root)!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=payload, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == '{"event": "result", "value": null}\n', ran.stderr


def test_an_unknown_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        worker.main(["reveal", "--project", "/nowhere"])
    assert "invalid choice: 'reveal'" in capsys.readouterr().err


# --- runs that need no house ------------------------------------------------------------------------------------------


@pytest.fixture
def books(root: Path) -> Path:
    """Make the folders that the worker writes; returns that of the models."""
    project = load_project(root)
    for folder in (
        project.journals_dir,
        project.ledger_dir,
        project.lake_dir,
        project.state_dir / "metrics",
        project.state_dir / "lineage",
    ):
        folder.mkdir(parents=True)
    return project.models_dir


def test_before_the_first_model_there_is_no_candidate_and_no_release(play: Play, books: Path):
    assert play("releases") == (0, [{"event": "result", "value": {"candidates": [], "releases": []}}])


def test_candidates_and_releases_are_listed_with_the_servers_down(play: Play, books: Path):
    releases, candidate = ReleaseStore(books), synthetic_world.candidate()
    artifact.save_candidate(candidate, paths=releases.paths)
    stored = releases.save(release(candidate=candidate.id))
    releases.set_live(stored)
    code, lines = play("releases")
    value = lines[-1]["value"]
    assert code == 0
    assert [(item["id"], item["outcome"], item["created_at"]) for item in value["candidates"]] == [
        (candidate.id, "pass", format_instant(candidate.known_since))
    ]
    assert value["releases"] == [
        {
            "model": "denials",
            "id": stored.id,
            "candidate": candidate.id,
            "proposed_by": "",
            "approved_by": "",
            "live": True,
            "evaluated_against_live": False,
        }
    ]


@pytest.mark.parametrize("instant", [None, "2026-11-25T14:00:00Z", "2026-11-25T14:00:00+02:00"])
@pytest.mark.usefixtures("books")
def test_a_history_without_a_switch_is_empty(play: Play, root: Path, instant: str | None):
    (root / "models").mkdir()
    (root / "models" / "denials.py").touch()
    (root / "wellspring.toml").write_text((root / "wellspring.toml").read_text() + "\n[models]\n")
    assert play("history", "denials", params={"instant": instant}) == (0, [{"event": "result", "value": []}])
    code, (result,) = play("history", "denails", params={"instant": instant})
    assert (code, result["fix"]) == (66, "did you mean 'denials'?")


@pytest.mark.parametrize("instant", ["yesterday", "", "2026-11-25T14:00:00", "2026-13-01T00:00:00Z"])
def test_an_instant_that_is_none_is_78(play: Play, books: Path, instant: str):
    code, lines = play("history", "denials", params={"instant": instant})
    assert code == 78
    assert "is not a timestamp" in lines[0]["what"]
    assert lines[0]["fix"] == "write it as 2026-11-25T14:00:00Z"

"""The `release` commands and `history`: their worker jobs, logins and text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.approvals import release as released
from tests.builders.command_line import Run
from wellspring.cli import deployment
from wellspring.cli import release as module
from wellspring.errors import NotFound, Unavailable
from wellspring.models.releases import candidates
from wellspring.models.releases import promotion as releases
from wellspring.records.user_notes import UserNote

RELEASE = {"id": "r1", "model": "denials"}
DRAFT = released(id="r1", digest="d1").model_dump(mode="json")
CANDIDATE = {
    "model": "denials",
    "id": "c1",
    "outcome": "pass",
    "task": "binary",
    "metric": "auc",
    "value": 0.81,
    "edition": "e1",
    "evaluated_against_live": True,
}
PENDING = {
    "model": "denials",
    "id": "r1",
    "candidate": "c1",
    "proposed_by": "user:ana",
    "approved_by": "",
    "live": False,
    "evaluated_against_live": True,
    "warm": True,
    "mode": "governed",
    "challenger_share": "",
}
LIVE = {**PENDING, "approved_by": "user:bo", "live": True}


DIFF = {"subject": "candidate:c1", "model": "denials", "live": "", "landed": "", "code": [], "views": []}
NOTE = UserNote(kind="release", lines=("x",), user="ana", public_key="k", signature="s")
PARAMS = {"note": NOTE.model_dump(mode="json")}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace worker, login and stores. The worker returns a value, or raises it. Returns the calls to both."""
    requests: list[tuple[Any, ...]] = []

    def sign_as_user(_project: Any, *words: str) -> UserNote:
        requests.append(("sign", *words))
        return NOTE

    def answers(value: Any) -> list[tuple[Any, ...]]:
        def follow(project: Any, *words: str, params: Any = None, offline: bool = False) -> Any:
            if words[0] == "draft-release":
                return DRAFT
            if words[0] == "feature-diff":
                return DIFF
            requests.append((*words, params, offline))
            if isinstance(value, BaseException):
                raise value
            return value

        monkeypatch.setattr(module, "run_worker", follow)
        monkeypatch.setattr(module, "sign_as_user", sign_as_user)
        monkeypatch.setattr(module, "require_terminal", lambda: None)
        monkeypatch.setattr(module, "read_run_state", lambda _: object())
        monkeypatch.setattr(candidates, "list_candidates", lambda _: ("c1",))
        monkeypatch.setattr(releases.ReleaseStore, "list_ids", lambda _: ("r1",))
        monkeypatch.setattr(releases.ReleaseStore, "get", lambda _, name: released(id="r1", digest="d1"))
        monkeypatch.setattr(releases.ReleaseStore, "live_id", lambda _, model: "r1")
        return requests

    return answers


@pytest.mark.parametrize(
    ("words", "answer", "job", "signed", "result", "command"),
    [
        (["propose", "c1"], {"release": RELEASE}, "propose", ("proposal", "denials", "r1", "d1"),
         "needs the approval of a second user", "release approve r1"),
        (["approve", "r1"], {"release": RELEASE, "user": "user:bo"}, "approve", ("release", "denials", "r1", "d1"),
         "denials serves release r1, approved by user:bo", "predict denials --newest"),
        (["rollback", "denials"], {"release": RELEASE, "user": "user:ana"}, "rollback", ("rollback", "denials", "r1"),
         "user:ana rolled denials back to release r1", "history denials"),
    ],
)  # fmt: skip
def test_an_act_is_signed_by_a_user_and_its_job_carries_the_note(
    run: Run, root: Path, answers: Any, words: list[str], answer: Any, job: str, signed: Any, result: str, command: str
):
    observed = answers(answer)
    output = run("release", *words, "--project", root)
    assert output.code == 0
    (_, *lines), call = observed
    assert tuple(lines[: len(signed)]) == signed
    assert call == (job, words[1], PARAMS, False)
    assert result in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring {command}"
    assert run("release", *words, "--json", "--project", root).document == answer


def test_the_diff_of_features_is_printed_and_leads_to_the_act(run: Run, root: Path, answers: Any):
    answers({})
    output = run("release", "diff", "c1", "--project", root)
    assert "no release of denials is live" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring release propose c1"
    assert run("release", "diff", "c1", "--json", "--project", root).document == DIFF


@pytest.mark.parametrize(("warm", "jobs"), [(True, []), (False, ["refresh"])])
def test_a_rollback_to_a_release_that_is_not_warm_builds_its_features_first(
    run: Run, root: Path, answers: Any, monkeypatch: pytest.MonkeyPatch, warm: bool, jobs: list[str]
):
    observed = answers(None)

    def follow(project: Any, *words: str, params: Any = None, offline: bool = False, on_progress: Any = None) -> Any:
        observed.append(words)
        results: dict[str, Any] = {
            "releases": {"releases": [{**LIVE, "warm": warm}]},
            "refresh": {"built": True},
            "rollback": {"release": RELEASE, "user": "user:ana"},
        }
        return results[words[0]]

    monkeypatch.setattr(module, "run_worker", follow)
    monkeypatch.setattr(deployment, "run_worker", follow)
    output = run("release", "rollback", "denials", "--to", "r1", "--project", root)
    assert output.code == 0
    assert [words[0] for words in observed if words[0] != "sign"] == ["releases", *jobs, "rollback"]
    assert [words[3] for words in observed if words[0] == "sign"] == ["r1:r1"]
    assert ("built by its own dbt code" in output.out) == bool(jobs)


@pytest.mark.parametrize("words", [["propose", "c1"], ["approve", "r1"]])
def test_a_user_sees_what_the_signature_is_for(run: Run, root: Path, answers: Any, words: list[str]):
    answers({"release": RELEASE, "user": "user:bo"})
    first_line = run("release", *words, "--project", root).out.splitlines()[0]
    assert first_line.startswith("release r1 of denials: candidate ")
    assert "decision rule: " in first_line
    assert "0.25" in first_line


@pytest.mark.parametrize("words", [["propose", "c1"], ["approve", "r1"], ["rollback", "denials"]])
@pytest.mark.parametrize(
    "error",
    [Unavailable("another run is under way", fix="wait"), NotFound("no release", fix="r2"), KeyboardInterrupt()],
)
def test_an_error_of_the_job_is_the_result_of_the_command(
    run: Run, root: Path, answers: Any, words: list[str], error: BaseException
):
    observed = answers(error)
    assert run("release", *words, "--project", root).code != 0
    assert observed[-1] == (*words, PARAMS, False)


@pytest.mark.parametrize(
    ("candidates", "releases", "command"),
    [
        ([], [], "train MODEL"),
        ([CANDIDATE], [], "release propose c1"),
        ([{**CANDIDATE, "outcome": "fail"}], [], "train MODEL"),
        ([CANDIDATE], [PENDING], "release approve r1"),
        ([CANDIDATE], [LIVE], "train MODEL"),
        ([{**CANDIDATE, "evaluated_against_live": False}], [], "train MODEL"),
        ([CANDIDATE, {**CANDIDATE, "id": "c2"}], [LIVE], "release propose c2"),
        ([CANDIDATE, {**CANDIDATE, "id": "c2"}], [{**PENDING, "evaluated_against_live": False}], "release propose c2"),
    ],
)
def test_the_list_prints_the_next_command(
    run: Run, root: Path, answers: Any, candidates: list[Any], releases: list[Any], command: str
):
    observed = answers({"candidates": candidates, "releases": releases, "changes": []})
    output = run("release", "list", "--project", root)
    assert (output.code, observed) == (0, [("releases", None, True)])
    assert output.out.splitlines()[-1] == f"next: wellspring {command}"
    assert ("no model has been trained here" in output.out) == (not candidates)
    assert ("proposed by" in output.out) == bool(releases)


def test_history_at_an_instant_needs_no_server(run: Run, root: Path, answers: Any):
    period = {"since": "2026-11-25T12:00:00.000000Z", "until": None, "action": "promote", "release": "r1",
             "proposed_by": "user:ana", "approved_by": "user:bo", "changed_by": "user:bo"}  # fmt: skip
    observed = answers([period])
    output = run("history", "denials", "--at", "2026-11-25T14:00:00Z", "--project", root)
    assert (output.code, observed) == (0, [("history", "denials", {"instant": "2026-11-25T14:00:00Z"}, True)])
    assert "promote" in output.out
    assert "user:ana" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring prove model:denials@r1 --out PACK"


def test_history_without_a_live_release(run: Run, root: Path, answers: Any):
    answers([])
    assert "no release of denials was live\n" in run("history", "denials", "--project", root).out
    output = run("history", "denials", "--at", "2020-01-01T00:00:00Z", "--project", root)
    assert "no release of denials was live at 2020-01-01T00:00:00Z\n" in output.out


@pytest.mark.parametrize(
    ("words", "code", "output"),
    [
        (["propose", "c2"], 66, "no candidate 'c2'"),
        (["approve", "r2"], 66, "there is: r1"),
        (["rollback", "denials"], 69, "not running"),
    ],
)
def test_an_unknown_subject_fails_before_the_login(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, output: str
):
    requests: list[str] = []
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module, "sign_as_user", lambda *_: requests.append("login"))
    monkeypatch.setattr("wellspring.cli.release.read_run_state", lambda _: None if words[0] == "rollback" else object())
    monkeypatch.setattr(candidates, "list_candidates", lambda _: ("c1",))
    monkeypatch.setattr(releases.ReleaseStore, "list_ids", lambda _: ("r1",))
    result = run("release", *words, "--project", root)
    assert (result.code, requests) == (code, [])
    assert output in result.err


@pytest.mark.parametrize("instant", ["yesterday", "2026-11-25T14:00:00", ""])
def test_an_invalid_instant_is_wrong_usage(run: Run, root: Path, instant: str):
    result = run("history", "denials", "--at", instant, "--project", root)
    assert (result.code, "2026-11-25T14:00:00Z" in result.err) == (64, True)

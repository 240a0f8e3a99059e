"""release and history: what is asked of the worker, with whose login, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from wellspring.cli import release as module
from wellspring.errors import NotFound, Unavailable
from wellspring.models.releases import promotion as releases
from wellspring.models.spec import artifact
from wellspring.project import Project
from wellspring.trust.identity import users

RELEASE = {"id": "r1", "model": "denials"}
ARGUMENTS = {"token": "t-1"}
REVOKED = ("revoke", "openbao.sock", "t-1")
CANDIDATE = {
    "model": "denials",
    "id": "c1",
    "outcome": "pass",
    "auc": 0.81,
    "edition": "e1",
    "evaluated_against_live": True,
}
WAITING = {
    "model": "denials",
    "id": "r1",
    "candidate": "c1",
    "proposed_by": "user:ana",
    "approved_by": "",
    "live": False,
    "evaluated_against_live": True,
}
LIVE = {**WAITING, "approved_by": "user:bo", "live": True}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the worker answer this, or raise it, and somebody log in; returns what was asked of worker and OpenBao."""
    requests: list[tuple[Any, ...]] = []
    monkeypatch.setattr(users, "revoke_token", lambda socket, token: requests.append(("revoke", socket.name, token)))

    def answers(value: Any) -> list[tuple[Any, ...]]:
        def follow(project: Any, *words: str, arguments: Any = None, offline: bool = False) -> Any:
            requests.append((*words, arguments, offline))
            if isinstance(value, BaseException):
                raise value
            return value

        monkeypatch.setattr(module, "run_worker", follow)
        monkeypatch.setattr(module, "log_in", lambda project: "t-1")
        monkeypatch.setattr(module, "require_terminal", lambda: None)
        monkeypatch.setattr(module, "_require_known_subject", lambda *_: None)
        return requests

    return answers


@pytest.mark.parametrize(
    ("words", "answer", "requests", "result", "command"),
    [
        (["propose", "c1"], {"release": RELEASE}, "propose", "waits for a second person", "release approve r1"),
        (["approve", "r1"], {"release": RELEASE, "user": "user:bo"}, "approve",
         "denials serves release r1, approved by user:bo",
         "ask denials --newest"),
        (["rollback", "denials"], {"release": RELEASE, "user": "user:ana"}, "rollback",
         "user:ana took denials back to release r1", "history denials"),
    ],
)  # fmt: skip
def test_an_act_is_asked_for_with_a_login_and_told(
    run: Run, root: Path, answers: Any, words: list[str], answer: Any, requests: str, result: str, command: str
):
    observed = answers(answer)
    output = run("release", *words, "--project", root)
    assert output.code == 0
    assert observed == [(requests, words[1], ARGUMENTS, False), REVOKED]
    assert result in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring {command}"
    assert run("release", *words, "--json", "--project", root).document == answer
    assert "t-1" not in output.out + output.err


@pytest.mark.parametrize("words", [["propose", "c1"], ["approve", "r1"], ["rollback", "denials"]])
@pytest.mark.parametrize(
    "error",
    [Unavailable("another run is under way", fix="wait"), NotFound("no release", fix="r2"), KeyboardInterrupt()],
)
def test_a_login_ends_with_the_command_however_the_run_ends(
    run: Run, root: Path, answers: Any, words: list[str], error: BaseException
):
    observed = answers(error)
    assert run("release", *words, "--project", root).code != 0
    assert observed == [(*words, ARGUMENTS, False), REVOKED]


@pytest.mark.parametrize(
    ("candidates", "releases", "command"),
    [
        ([], [], "learn MODEL"),
        ([CANDIDATE], [], "release propose c1"),
        ([{**CANDIDATE, "outcome": "fail"}], [], "learn MODEL"),
        ([CANDIDATE], [WAITING], "release approve r1"),
        ([CANDIDATE], [LIVE], "learn MODEL"),
        ([{**CANDIDATE, "evaluated_against_live": False}], [], "learn MODEL"),
        ([CANDIDATE, {**CANDIDATE, "id": "c2"}], [LIVE], "release propose c2"),
        ([CANDIDATE, {**CANDIDATE, "id": "c2"}], [{**WAITING, "evaluated_against_live": False}], "release propose c2"),
    ],
)
def test_the_list_says_what_to_do_next(
    run: Run, root: Path, answers: Any, candidates: list[Any], releases: list[Any], command: str
):
    observed = answers({"candidates": candidates, "releases": releases})
    output = run("release", "list", "--project", root)
    assert (output.code, observed) == (0, [("releases", None, True)])
    assert output.out.splitlines()[-1] == f"next: wellspring {command}"
    assert ("no model has been trained here" in output.out) == (not candidates)
    assert ("proposed by" in output.out) == bool(releases)


def test_a_history_is_told_newest_first_and_needs_no_server(run: Run, root: Path, answers: Any):
    reign = {"since": "2026-11-25T12:00:00.000000Z", "until": None, "action": "promote", "release": "r1",
             "proposed_by": "user:ana", "approved_by": "user:bo", "changed_by": "user:bo"}  # fmt: skip
    observed = answers([reign])
    output = run("history", "denials", "--at", "2026-11-25T14:00:00Z", "--project", root)
    assert (output.code, observed) == (0, [("history", "denials", {"instant": "2026-11-25T14:00:00Z"}, True)])
    assert "promote" in output.out
    assert "user:ana" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring prove model:denials@r1 --out PACK"


def test_when_nothing_was_live_it_says_so(run: Run, root: Path, answers: Any):
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
def test_what_no_login_could_help_is_told_before_anybody_logs_in(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, output: str
):
    requests: list[str] = []
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module, "log_in", lambda _: requests.append("login"))
    monkeypatch.setattr(Project, "read_run_state", lambda _: None if words[0] == "rollback" else object())
    monkeypatch.setattr(artifact, "list_candidates", lambda _: ("c1",))
    monkeypatch.setattr(releases.ReleaseStore, "list_ids", lambda _: ("r1",))
    result = run("release", *words, "--project", root)
    assert (result.code, requests) == (code, [])
    assert output in result.err


@pytest.mark.parametrize("instant", ["yesterday", "2026-11-25T14:00:00", ""])
def test_an_instant_that_is_none_is_wrong_usage(run: Run, root: Path, instant: str):
    result = run("history", "denials", "--at", instant, "--project", root)
    assert (result.code, "2026-11-25T14:00:00Z" in result.err) == (64, True)

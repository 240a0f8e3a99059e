"""release and history: what is asked of the worker, with whose login, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from wellspring.cli import release as module

RELEASE = {"id": "r1", "model": "denials"}
GIVEN = {"token": "t-1"}
CANDIDATE = {"model": "denials", "id": "c1", "outcome": "pass", "auc": 0.81, "edition": "e1"}
WAITING = {"model": "denials", "id": "r1", "candidate": "c1", "proposed": "user:ana", "approved": "", "live": False}
LIVE = {**WAITING, "approved": "user:bo", "live": True}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the worker answer this, and somebody log in; returns what was asked of the worker."""
    asked: list[tuple[Any, ...]] = []

    def answers(value: Any) -> list[tuple[Any, ...]]:
        def follow(here: Any, *words: str, given: Any = None, offline: bool = False) -> Any:
            asked.append((*words, given, offline))
            return value

        monkeypatch.setattr(module, "follow", follow)
        monkeypatch.setattr(module, "log_in", lambda here: "t-1")
        return asked

    return answers


@pytest.mark.parametrize(
    ("words", "answer", "asked", "told", "command"),
    [
        (["propose", "c1"], {"release": RELEASE}, "propose", "waits for a second person", "release approve r1"),
        (["approve", "r1"], {"release": RELEASE, "person": "user:bo"}, "approve", "user:bo approves release r1",
         "ask denials --newest"),
        (["rollback", "denials"], {"release": RELEASE, "person": "user:ana"}, "rollback",
         "user:ana took denials back to release r1", "history denials"),
    ],
)  # fmt: skip
def test_an_act_is_asked_for_with_a_login_and_told(
    run: Run, root: Path, answers: Any, words: list[str], answer: Any, asked: str, told: str, command: str
):
    seen = answers(answer)
    said = run("release", *words, "--project", root)
    assert said.code == 0
    assert seen == [(asked, words[1], GIVEN, False)]
    assert told in said.out
    assert said.out.splitlines()[-1] == f"next: wellspring {command}"
    assert run("release", *words, "--json", "--project", root).document == answer
    assert "t-1" not in said.out + said.err


@pytest.mark.parametrize(
    ("candidates", "releases", "command"),
    [
        ([], [], "learn MODEL"),
        ([CANDIDATE], [], "release propose c1"),
        ([{**CANDIDATE, "outcome": "fail"}], [], "learn MODEL"),
        ([CANDIDATE], [WAITING], "release approve r1"),
        ([CANDIDATE], [LIVE], "learn MODEL"),
    ],
)
def test_the_list_says_what_to_do_next(
    run: Run, root: Path, answers: Any, candidates: list[Any], releases: list[Any], command: str
):
    seen = answers({"candidates": candidates, "releases": releases})
    said = run("release", "list", "--project", root)
    assert (said.code, seen) == (0, [("releases", None, True)])
    assert said.out.splitlines()[-1] == f"next: wellspring {command}"
    assert ("no model has been trained here" in said.out) == (not candidates)
    assert ("proposed by" in said.out) == bool(releases)


def test_a_history_is_told_newest_first_and_needs_no_server(run: Run, root: Path, answers: Any):
    reign = {"since": "2026-11-25T12:00:00.000000Z", "until": None, "act": "promote", "release": "r1",
             "proposed": "user:ana", "approved": "user:bo", "by": "user:bo"}  # fmt: skip
    seen = answers([reign])
    said = run("history", "denials", "--at", "2026-11-25T14:00:00Z", "--project", root)
    assert (said.code, seen) == (0, [("history", "denials", {"at": "2026-11-25T14:00:00Z"}, True)])
    assert "promote" in said.out
    assert "user:ana" in said.out
    assert said.out.splitlines()[-1] == "next: wellspring prove model:denials@r1 --out PACK"


def test_when_nothing_was_live_it_says_so(run: Run, root: Path, answers: Any):
    answers([])
    assert "no release of denials was live\n" in run("history", "denials", "--project", root).out
    said = run("history", "denials", "--at", "2020-01-01T00:00:00Z", "--project", root)
    assert "no release of denials was live at 2020-01-01T00:00:00Z\n" in said.out

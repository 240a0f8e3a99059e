"""A person logs in at a terminal, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from wellspring.cli import follow
from wellspring.cli import people as module
from wellspring.cli.terminal import at_terminal
from wellspring.project import load
from wellspring.servers import folders
from wellspring.servers import people as enrolment
from wellspring.servers.privileges import survey
from wellspring.trust.identity import people as identity

TOML = '\n[people.ines]\nroles = ["owner"]\n'
PROPOSE = ["release", "propose", "c" * 12]


@pytest.fixture
def named(root: Path) -> Path:
    """A project that names at least one person."""
    toml = root / "wellspring.toml"
    if "[people.ines]" not in toml.read_text():
        toml.write_text(toml.read_text() + TOML)
    return root


@pytest.mark.parametrize(
    "words",
    [PROPOSE, ["release", "approve", "r1"], ["release", "rollback", "denials"], ["people", "enrol", "ines"]],
)
def test_without_a_terminal_nobody_is_asked_who_they_are(
    run: Run, named: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    asked: list[str] = []

    def prompt(text: str, **_: Any) -> str:
        asked.append(text)
        return "long enough"

    monkeypatch.setattr(module.click, "prompt", prompt)
    monkeypatch.setattr(identity, "login", lambda *_: identity.PersonToken("t"))
    monkeypatch.setattr(enrolment, "enrol", lambda *_: {"otpauth_url": "otpauth://"})
    said = run(*words, "--project", named)
    assert (said.code, asked) == (77, [])
    assert "a person logs in at a terminal, and there is none" in said.err


def test_a_login_gives_what_was_typed_to_openbao_and_a_token_back(named: Path, monkeypatch: pytest.MonkeyPatch):
    typed = {"name": "ines", "password": "long enough", "code": "123456"}
    hidden: list[str] = []
    given: list[Any] = []

    def prompt(text: str, *, hide_input: bool = False, err: bool = False) -> str:
        assert err  # standard output is the document's
        hidden.extend([text] if hide_input else [])
        return typed[text]

    def login(*words: Any) -> identity.PersonToken:
        given.extend(words)
        return identity.PersonToken("t-1")

    monkeypatch.setattr(module.click, "prompt", prompt)
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(identity, "login", login)
    here = load(named)
    assert module.log_in(here) == "t-1"
    assert given == [here.socket("openbao"), "ines", "long enough", "123456"]
    assert hidden == ["password", "code"]


def test_at_a_terminal_name_password_and_code_are_asked_for_and_neither_secret_is_shown(named: Path):
    typed = [("name: ", "ines"), ("password: ", "long enough"), ("code: ", "123456")]
    said = at_terminal([sys.executable, "-m", "wellspring.cli", "--project", str(named), *PROPOSE], typed, seconds=60)
    assert said.code == 69  # the servers are down
    assert said.out == ""
    assert "long enough" not in said.screen
    assert "123456" not in said.screen


def test_enrolment_of_nobody_is_not_found_before_a_password_is_asked_for(run: Run, named: Path):
    said = run("people", "enrol", "mallory", "--project", named)
    assert said.code == 66
    assert "names no such person" in said.err


def test_who_is_enrolled_already_is_told_before_a_password_is_asked_for(
    run: Run, named: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module.click, "prompt", lambda text, **_: asked.append(text))
    monkeypatch.setattr(follow, "follow", lambda *_: ["ines"])
    assert run("people", "enrol", "ines", "--project", named).code == 69
    monkeypatch.setattr(type(load(named)), "running", lambda _: object())
    said = run("people", "enrol", "ines", "--project", named)
    assert (said.code, asked) == (77, [])
    assert "ines is enrolled already" in said.err


def test_people_are_listed_with_who_is_enrolled(run: Run, named: Path):
    here = load(named)
    here.state.mkdir()
    folders.make(here, survey(here))
    said = run("people", "list", "--project", named)
    assert said.code == 0
    assert "ines" in said.out
    document = run("people", "list", "--json", "--project", named).document
    assert {"name": "ines", "roles": list(here.people["ines"].roles), "enrolled": False} in document

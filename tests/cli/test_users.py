"""Users log in and enroll at a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders.approvals import Somebody
from tests.builders.command_line import Run
from wellspring.cli import users as module
from wellspring.cli import worker_client
from wellspring.cli.pseudo_terminal import run_in_pty
from wellspring.embedded import layout
from wellspring.embedded import users as enrollment
from wellspring.project import load_project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity import users as identity

TOML = '\n[users.ines]\nroles = ["owner"]\n'
PROPOSE = ["release", "propose", "c" * 12]


@pytest.fixture
def named(root: Path) -> Path:
    """A project with at least one user."""
    toml = root / "wellspring.toml"
    if "[users.ines]" not in toml.read_text():
        toml.write_text(toml.read_text() + TOML)
    return root


@pytest.mark.parametrize(
    "words",
    [PROPOSE, ["release", "approve", "r1"], ["release", "rollback", "denials"], ["users", "enroll", "ines"]],
)
def test_without_a_terminal_no_login_is_prompted(
    run: Run, named: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    requests: list[str] = []

    def prompt(text: str, **_: Any) -> str:
        requests.append(text)
        return "long enough"

    monkeypatch.setattr(module.click, "prompt", prompt)
    monkeypatch.setattr(identity, "login_user", lambda *_, **__: identity.UserToken("t"))
    monkeypatch.setattr(enrollment, "request_enrollment", lambda *_: {"otpauth_url": "otpauth://"})
    output = run(*words, "--project", named)
    assert (output.code, requests) == (77, [])
    assert "standard input is not a terminal" in output.err


def test_a_login_passes_the_input_to_openbao_and_signs_one_note(named: Path, monkeypatch: pytest.MonkeyPatch):
    ines = Somebody("ines", "owner")
    tokens: list[str] = []
    typed = {"name": "ines", "password": "long enough", "code": "123456"}
    hidden: list[str] = []
    arguments: list[Any] = []

    def prompt(text: str, *, hide_input: bool = False, err: bool = False) -> str:
        assert err  # standard output is reserved for the document
        hidden.extend([text] if hide_input else [])
        return typed[text]

    def login(*words: Any, mount: str) -> identity.UserToken:
        arguments.extend([*words, mount])
        return identity.UserToken("t-1")

    monkeypatch.setattr(module.click, "prompt", prompt)
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(identity, "login_user", login)
    monkeypatch.setattr(identity, "read_login_mount", lambda _: "users-0")

    @contextmanager
    def resume_session(project: Any, token: str) -> Iterator[Somebody]:
        tokens.append(token)
        yield ines

    monkeypatch.setattr(identity, "resume_session", resume_session)
    project = load_project(named)
    note = module.sign_as_user(project, "rollback", "denials", "r1", "now")
    assert (note.user, note.kind, note.lines) == ("ines", "rollback", ("denials", "r1", "now"))
    assert ines.signed == [b"wellspring rollback v1\ndenials\nr1\nnow\n"]
    assert tokens == ["t-1"]
    assert arguments == [find_server_socket(project, "openbao"), "ines", "long enough", "123456", "users-0"]
    assert hidden == ["password", "code"]


def test_a_login_prompts_at_a_terminal_and_echoes_no_secret(named: Path):
    typed = [("name: ", "ines"), ("password: ", "long enough"), ("code: ", "123456")]
    output = run_in_pty([sys.executable, "-m", "wellspring.cli", "--project", str(named), *PROPOSE], typed, timeout=60)
    assert output.exit_code == 69  # the servers are down
    assert output.out == ""
    assert "long enough" not in output.screen
    assert "123456" not in output.screen


def test_enrollment_of_an_unknown_user_fails_before_the_password(run: Run, named: Path):
    output = run("users", "enroll", "mallory", "--project", named)
    assert output.code == 66
    assert "has no user" in output.err


def test_a_second_enrollment_fails_before_the_password(run: Run, named: Path, monkeypatch: pytest.MonkeyPatch):
    requests: list[str] = []
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module.click, "prompt", lambda text, **_: requests.append(text))
    monkeypatch.setattr(worker_client, "run_worker", lambda *_: ["ines"])
    assert run("users", "enroll", "ines", "--project", named).code == 69
    monkeypatch.setattr("wellspring.cli.users.read_run_state", lambda _: object())
    output = run("users", "enroll", "ines", "--project", named)
    assert (output.code, requests) == (77, [])
    assert "ines is already enrolled" in output.err


def test_users_are_listed_with_their_enrollment(run: Run, named: Path):
    project = load_project(named)
    project.state_dir.mkdir()
    layout.create_folders(project, detect_privileges(project))
    output = run("users", "list", "--project", named)
    assert output.code == 0
    assert "ines" in output.out
    document = run("users", "list", "--json", "--project", named).document
    assert {"name": "ines", "roles": list(project.users["ines"].roles), "enrolled": False} in document


def test_in_development_no_code_is_asked_for(named: Path, monkeypatch: pytest.MonkeyPatch):
    toml = named / "wellspring.toml"
    toml.write_text(toml.read_text().replace("[project]", '[project]\nmode = "development"', 1))
    typed, arguments = {"name": "ines", "password": "long enough"}, list[Any]()

    def login(*words: Any, mount: str) -> identity.UserToken:
        arguments.extend([*words, mount])
        return identity.UserToken("t-1")

    @contextmanager
    def resume_session(project: Any, token: str) -> Iterator[Somebody]:
        yield Somebody("ines", "owner")

    monkeypatch.setattr(module.click, "prompt", lambda text, **_: typed[text])
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(identity, "login_development_user", login)
    monkeypatch.setattr(identity, "read_login_mount", lambda _: "development-0")
    monkeypatch.setattr(identity, "resume_session", resume_session)
    project = load_project(named)
    assert module.sign_as_user(project, "rollback", "denials", "r1", "now").user == "ines"
    assert arguments == [find_server_socket(project, "openbao"), "ines", "long enough", "development-0"]


@pytest.mark.parametrize(
    ("enrolled", "prompts"), [([], ["code that `up` printed", "password"]), (["omar"], ["password"])]
)
def test_only_the_first_enrollment_asks_for_the_code(
    run: Run, named: Path, monkeypatch: pytest.MonkeyPatch, enrolled: list[str], prompts: list[str]
):
    prompted, sent = list[str](), list[str]()

    def request_enrollment(*_: Any, bootstrap_code: str, trace: str) -> dict[str, str]:
        sent.append(bootstrap_code)
        return {"otpauth_url": "otpauth://", "public_key": trace}

    def prompt(text: str, **_: Any) -> str:
        prompted.append(text)
        return f"typed {text}"

    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module.click, "prompt", prompt)
    monkeypatch.setattr(worker_client, "run_worker", lambda *_: enrolled)
    monkeypatch.setattr("wellspring.cli.users.read_run_state", lambda _: object())
    monkeypatch.setattr(enrollment, "request_enrollment", request_enrollment)
    assert run("users", "enroll", "ines", "--project", named).code == 0
    assert (prompted, sent) == (prompts, ["typed code that `up` printed" if not enrolled else ""])

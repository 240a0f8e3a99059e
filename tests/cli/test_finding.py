"""The `finding` commands: their text, documents and login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import finding as module
from wellspring.records.user_notes import UserNote
from wellspring.trust.user_notes import hash_reason

OPEN = {
    "id": "0123456789ab", "source": "clearinghouse", "name": "(hidden) 3f2a9c0011223344.csv", "code": "personal_name",
    "since": "2026-11-25T12:00:00.000000Z", "message": "the file name contains personal data", "state": "open",
    "user": "", "reason": "", "changed_at": "2026-11-25T12:00:00.000000Z",
}  # fmt: skip
ACKNOWLEDGED = {**OPEN, "id": "b" * 12, "state": "acknowledged", "user": "user:ana", "reason": "removed\x1b[2J"}
CLOSED = {**OPEN, "id": "c" * 12, "state": "closed"}
NOTE = UserNote(kind="acknowledgement", lines=("x",), user="ana", public_key="k", signature="s")


def test_open_findings_are_listed_and_all_on_request(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, [OPEN, ACKNOWLEDGED, CLOSED])
    output = run("finding", "list", "--project", root)
    assert calls == [("findings", "", None)]
    assert [line.split()[0] for line in output.out.splitlines()[2:]] == [OPEN["id"], "next:"]
    assert output.out.splitlines()[-1] == f"next: wellspring finding acknowledge {OPEN['id']}"
    assert run("finding", "list", "--json", "--project", root).document == [OPEN]
    output = run("finding", "list", "clearinghouse", "--all", "--project", root)
    assert calls[-1] == ("findings", "clearinghouse", None)
    assert "acknowledged by user:ana at 2026-11-25T12:00:00.000000Z: removed\\x1b[2J" in output.out
    assert "its file is gone or was replaced" in output.out
    assert len(run("finding", "list", "--all", "--json", "--project", root).document) == 3


def test_without_an_open_finding_the_number_of_the_others_is_shown(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [CLOSED])
    output = run("finding", "list", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "no open finding; --all lists 1")


def test_an_unknown_source_is_not_found(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, [])
    assert run("finding", "list", "clearinghose", "--project", root).code == 66
    assert calls == []


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace the login. Returns what was signed."""
    signed: list[tuple[str, ...]] = []

    def sign_as_user(_project: Any, *words: str) -> UserNote:
        signed.append(words)
        return NOTE

    monkeypatch.setattr(module, "sign_as_user", sign_as_user)
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module, "read_run_state", lambda project: object())
    return signed


def test_a_user_acknowledges_a_finding(
    run: Run, root: Path, login: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    calls: list[tuple[Any, ...]] = []

    def run_worker(project: Any, *words: str, params: Any = None) -> Any:
        calls.append((*words, params))
        return [OPEN] if words == ("findings",) else {**OPEN, "state": "acknowledged", "user": "user:ana"}

    monkeypatch.setattr(module, "run_worker", run_worker)
    output = run("finding", "acknowledge", OPEN["id"], "--reason", "removed", "--project", root)
    assert output.code == 0
    assert output.out.splitlines()[0] == "user:ana acknowledged personal_name of (hidden) 3f2a9c0011223344.csv"
    assert calls[1] == ("acknowledge", OPEN["id"], {"note": NOTE.model_dump(mode="json"), "reason": "removed"})
    assert login[0][:3] == ("acknowledgement", OPEN["id"], hash_reason("removed"))


def test_an_unknown_finding_is_reported_before_the_login(
    run: Run, root: Path, login: list[tuple[str, ...]], stub_worker: StubWorker
):
    stub_worker(module, [OPEN])
    output = run("finding", "acknowledge", "0123456789ac", "--project", root)
    assert (output.code, f"did you mean '{OPEN['id']}'?" in output.err) == (66, True)
    assert login == []


def test_an_acknowledgement_needs_a_terminal(run: Run, root: Path):
    output = run("finding", "acknowledge", OPEN["id"], "--project", root)
    assert (output.code, "needs a terminal" in output.err) == (77, True)

"""The `retain` and `hold` commands: their text, documents and login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import retention as module
from wellspring.records.user_notes import UserNote
from wellspring.trust.user_notes import hash_reason

HOLD = {"edition": "a" * 12, "since": "2026-11-25T12:00:00.000000Z", "user": "user:ana", "reason": "a lawsuit"}
NOTE = UserNote(kind="hold", lines=("x",), user="ana", public_key="k", signature="s")


def test_retired_and_kept_editions_are_listed(run: Run, root: Path, stub_worker: StubWorker):
    result = {"retired": ["b" * 12], "named": {"a" * 12: "a hold"}, "removed_files": 1200, "compacted": ["prediction"]}
    calls = stub_worker(module, result)
    output = run("retain", "--project", root)
    assert (output.code, calls) == (0, [("retain", None)])
    assert output.out.splitlines() == [
        f"retired edition {'b' * 12}",
        f"kept edition {'a' * 12}: a hold names it",
        "compacted table prediction",
        "1,200 files removed",
        "next: wellspring status",
    ]
    stub_worker(module, {**result, "retired": []})
    assert run("retain", "--json", "--project", root).code == 3


def test_holds_are_listed(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [HOLD])
    output = run("hold", "list", "--project", root)
    assert output.out.splitlines()[-1] == f"next: wellspring hold remove {HOLD['edition']} --reason TEXT"
    assert run("hold", "list", "--json", "--project", root).document == [HOLD]
    stub_worker(module, [])
    assert run("hold", "list", "--project", root).out.splitlines()[0] == "no edition is held"


@pytest.mark.parametrize(("word", "action", "holds"), [("add", "hold", []), ("remove", "lift_hold", [HOLD])])
def test_a_user_changes_a_hold(
    word: str, action: str, holds: list[Any], run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
):
    signed: list[tuple[str, ...]] = []
    calls: list[tuple[Any, ...]] = []

    def sign_as_user(_project: Any, *words: str) -> UserNote:
        signed.append(words)
        return NOTE

    def run_worker(project: Any, *words: str, params: Any = None) -> Any:
        calls.append((*words, params))
        return holds

    monkeypatch.setattr(module, "sign_as_user", sign_as_user)
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    monkeypatch.setattr(module, "run_worker", run_worker)
    output = run("hold", word, HOLD["edition"], "--reason", "a lawsuit", "--project", root)
    assert output.code == 0
    assert signed[0][:3] == (action, HOLD["edition"], hash_reason("a lawsuit"))
    assert calls[-1] == (action, HOLD["edition"], {"note": NOTE.model_dump(mode="json"), "reason": "a lawsuit"})
    opposite = "add" if word == "remove" else "remove"
    assert run("hold", opposite, HOLD["edition"], "--reason", "x", "--project", root).code == 77
    assert len(signed) == 1


def test_a_hold_needs_a_terminal(run: Run, root: Path):
    output = run("hold", "add", HOLD["edition"], "--reason", "x", "--project", root)
    assert (output.code, "needs a terminal" in output.err) == (77, True)

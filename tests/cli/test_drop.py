"""The `drop` commands, and `quarantine discard`: their text, documents and login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import drop as module
from wellspring.records.user_notes import UserNote
from wellspring.trust.user_notes import hash_reason

DROP = "clearinghouse-0123456789ab"
ACCOUNT = dict.fromkeys(
    ("received", "published", "waiting", "quarantined", "rejected", "discarded", "withdrawn", "copies"), 0
)
STOPPED = {
    "id": DROP, "name": "claims_1.csv", "source": "clearinghouse", "contract": "medical_claim", "state": "stopped",
    "landed_at": "2026-11-25T12:00:00.000000Z", "kept_until": "2026-12-02T12:00:00.000000Z",
    "account": {**ACCOUNT, "received": 3, "rejected": 3}, "codes": ["missing_column"], "decisions": [],
}  # fmt: skip
WITHDRAWN = {
    **STOPPED, "state": "withdrawn", "account": {**ACCOUNT, "received": 3, "withdrawn": 3}, "codes": [],
    "decisions": [{"action": "withdraw", "at": "2026-11-26T12:00:00.000000Z", "user": "user:ana", "reason": "a test"}],
}  # fmt: skip
PUBLISHED = {**STOPPED, "state": "published", "account": {**ACCOUNT, "received": 3, "published": 2, "quarantined": 1}}
NOTE = UserNote(kind="withdrawal", lines=("x",), user="ana", public_key="k", signature="s")


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace the login. Returns what was signed."""
    signed: list[tuple[str, ...]] = []

    def sign_as_user(_project: Any, *words: str) -> UserNote:
        signed.append(words)
        return NOTE

    monkeypatch.setattr(module, "sign_as_user", sign_as_user)
    monkeypatch.setattr(module, "require_terminal", lambda: None)
    return signed


def test_drops_are_listed_and_the_stopped_one_is_next(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, [STOPPED, PUBLISHED])
    output = run("drop", "list", "clearinghouse", "--project", root)
    assert (output.code, calls) == (0, [("drops", "clearinghouse", {"all": False})])
    assert output.out.splitlines()[-1] == f"next: wellspring drop show {DROP}"
    assert run("drop", "list", "--json", "--project", root).document == [STOPPED, PUBLISHED]
    assert run("drop", "list", "clearinghose", "--project", root).code == 66
    stub_worker(module, [])
    assert run("drop", "list", "--project", root).out.splitlines()[0] == "no drop has landed"


@pytest.mark.parametrize(
    ("item", "line", "command"),
    [
        (STOPPED, "stopped: missing_column", f"wellspring drop rejudge {DROP} --reason TEXT"),
        (WITHDRAWN, "2026-11-26T12:00:00.000000Z: withdraw by user:ana: a test",
         f"wellspring drop rejudge {DROP} --reason TEXT"),
        (PUBLISHED, "rows: 3 received, 2 published, 1 quarantined", f"wellspring quarantine show {DROP}"),
        ({**PUBLISHED, "account": ACCOUNT}, "rows: none", f"wellspring prove drop:{DROP} --out PACK"),
    ],
)  # fmt: skip
def test_a_drop_is_shown_with_its_decisions(
    item: dict[str, Any], line: str, command: str, run: Run, root: Path, stub_worker: StubWorker
):
    stub_worker(module, item)
    lines = run("drop", "show", DROP, "--project", root).out.splitlines()
    assert line in lines
    assert lines[-1] == f"next: {command}"


def decide(monkeypatch: pytest.MonkeyPatch, item: dict[str, Any], result: dict[str, Any]) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def run_worker(project: Any, *words: str, params: Any = None, **_: Any) -> Any:
        calls.append((*words, params))
        return item if words[0] == "drop" else result

    monkeypatch.setattr(module, "run_worker", run_worker)
    return calls


def test_a_user_withdraws_a_drop(run: Run, root: Path, login: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    calls = decide(monkeypatch, STOPPED, WITHDRAWN)
    output = run("drop", "withdraw", DROP, "--reason", "a test", "--project", root)
    assert (output.code, output.out.splitlines()[-1]) == (0, "next: wellspring ingest clearinghouse")
    assert calls[1] == ("withdraw", DROP, {"note": NOTE.model_dump(mode="json"), "reason": "a test"})
    assert login[0][:3] == ("withdrawal", DROP, hash_reason("a test"))


def test_a_rejudgement_ends_with_the_code_of_its_ingest(
    run: Run, root: Path, login: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    result = {
        "source": "clearinghouse", "verdict": {"outcome": "fail", "reasons": []}, "edition": None, "open_findings": 0,
        "newly_published": False, "age_seconds": None, "files": [],
    }  # fmt: skip
    decide(monkeypatch, STOPPED, result)
    assert run("drop", "rejudge", DROP, "--reason", "mended", "--project", root).code == 75
    assert login[0][0] == "rejudgement"


def test_a_user_discards_quarantined_rows(
    run: Run, root: Path, login: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    decide(monkeypatch, PUBLISHED, {**PUBLISHED, "account": {**ACCOUNT, "discarded": 1}})
    output = run("quarantine", "discard", DROP, "--reason", "never mended", "--project", root)
    assert output.out.splitlines() == [f"1 rows of {DROP} are discarded", "next: wellspring quarantine list"]
    assert login[0][0] == "discard"


@pytest.mark.parametrize(
    ("words", "item", "code"),
    [
        (("drop", "withdraw"), PUBLISHED, 77),
        (("drop", "rejudge"), PUBLISHED, 77),
        (("drop", "withdraw"), WITHDRAWN, 77),
        (("quarantine", "discard"), STOPPED, 66),
    ],
)
def test_what_is_impossible_is_refused_before_the_login(
    words: tuple[str, str], item: dict[str, Any], code: int, run: Run, root: Path, login: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    decide(monkeypatch, item, {})
    assert run(*words, DROP, "--reason", "x", "--project", root).code == code
    assert login == []


def test_a_decision_needs_a_terminal_and_a_reason(run: Run, root: Path):
    output = run("drop", "withdraw", DROP, "--reason", "x", "--project", root)
    assert (output.code, "needs a terminal" in output.err) == (77, True)
    assert run("drop", "withdraw", DROP, "--project", root).code == 64

"""The `release` commands about changes: what a user sees, signs, and types next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.changes import build_change
from tests.builders.command_line import Run
from wellspring.cli import change as module
from wellspring.records.user_notes import UserNote
from wellspring.trust.changes import store

CHANGE = build_change("policy", "benefits").model_dump(mode="json")
LINES = ("policy:benefits", CHANGE["id"], CHANGE["digest"])
NOTE = UserNote(kind="proposal", lines=LINES, user="ana", public_key="k", signature="s")
PARAMS = {"note": NOTE.model_dump(mode="json")}


def summary(state: str, approved_by: str = "") -> dict[str, Any]:
    return {"release": CHANGE, "state": state, "proposed_by": "user:ana", "approved_by": approved_by}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the worker and the login; the result of each job is given by its name. Returns the calls to both."""
    calls: list[tuple[Any, ...]] = []

    def answer(**results: Any) -> list[tuple[Any, ...]]:
        def run_worker(_: Any, job: str, subject: str = "", *, params: Any = None, offline: bool = False) -> Any:
            calls.append((job, subject, params, offline))
            return results[job.replace("-", "_")]

        def sign_as_user(_: Any, *words: str) -> UserNote:
            calls.append(("sign", *words))
            return NOTE

        monkeypatch.setattr(module, "run_worker", run_worker)
        monkeypatch.setattr(module, "sign_as_user", sign_as_user)
        monkeypatch.setattr(module, "require_terminal", lambda: None)
        monkeypatch.setattr(store.ChangeStore, "list_ids", lambda _: (CHANGE["id"],))
        return calls

    return answer


@pytest.mark.parametrize(
    ("state", "result", "command"),
    [
        ("open", "needs the approval of a second user", f"release approve {CHANGE['id']}"),
        ("live", "is live: it needs no second person", f"release show {CHANGE['id']}"),
    ],
)
def test_a_change_is_shown_then_proposed_with_a_signature(
    run: Run, root: Path, calls: Any, state: str, result: str, command: str
):
    drafted = {"release": CHANGE, "details": {}, "open_releases": ["f" * 12]}
    observed = calls(draft_change=drafted, propose_change=summary(state))
    output = run("release", "propose", "--kind", "policy", "--project", root)
    assert output.code == 0
    assert observed == [
        ("draft-change", "policy:", None, False),
        ("sign", "proposal", *LINES),
        ("propose-change", CHANGE["id"], PARAMS, False),
    ]
    assert result in output.out
    assert "approving one closes the other" in output.out
    assert output.out.splitlines()[1] == "  something"
    assert output.out.splitlines()[-1] == f"next: wellspring {command}"
    assert run("release", "propose", "--kind", "policy", "--json", "--project", root).document == summary(state)


def test_a_proposed_change_is_approved_with_a_signature(run: Run, root: Path, calls: Any):
    overview = {"candidates": [], "releases": [], "changes": [summary("open")]}
    observed = calls(releases=overview, approve_change=summary("live", "user:bo"))
    output = run("release", "approve", CHANGE["id"], "--project", root)
    assert output.code == 0
    assert observed[1:] == [("sign", "release", *LINES), ("approve-change", CHANGE["id"], PARAMS, False)]
    assert "policy:benefits is live, by user:bo" in output.out


def test_a_change_is_shown_and_listed_and_a_draft_is_not(run: Run, root: Path, calls: Any):
    observed = calls(releases={"candidates": [], "releases": [], "changes": [summary("open")]})
    output = run("release", "show", CHANGE["id"], "--project", root)
    assert "open; proposed by user:ana, approved by nobody" in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring release approve {CHANGE['id']}"
    calls(releases={"candidates": [], "releases": [], "changes": []})
    assert "was drafted and not proposed" in run("release", "show", CHANGE["id"], "--project", root).err
    assert run("release", "show", "0" * 12, "--project", root).code != 0
    assert [call[0] for call in observed] == ["releases", "releases"]

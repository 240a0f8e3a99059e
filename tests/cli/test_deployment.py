"""`release deploy`, `undeploy` and `promote`, and `approve --challenger`: what is signed, and which jobs run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from tests.builders.approvals import release as released
from tests.builders.command_line import Run
from wellspring.cli import deployment as module
from wellspring.cli import release as release_module
from wellspring.models.releases.store import ReleaseStore
from wellspring.records.user_notes import UserNote

NOTE = UserNote(kind="deployment", lines=("x",), user="ana", public_key="k", signature="s")
NOTE_FIELDS = NOTE.model_dump(mode="json")
SEED = "5eed5eed5eed5eed"
DEPLOYMENT = {
    "model": "denials", "stable": "r1", "challenger": "r2", "mode": "canary", "share": "0.25", "seed": SEED,
    "since": "",
}  # fmt: skip


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace worker, login and stores; return the calls to the worker and what was signed."""
    calls: list[tuple[Any, ...]] = []
    current = {**DEPLOYMENT, "challenger": "", "share": "", "seed": ""}

    def run_worker(_project: Any, *words: str, params: Any = None, **_: Any) -> Any:
        if words[0] == "deployment":
            return current
        calls.append((*words, params))
        if words[0] == "releases":
            return {"releases": [{"id": "r2", "warm": True, "approved_by": "user:bo"}, {"id": "r1", "approved_by": ""}]}
        return {"deployment": DEPLOYMENT, "user": "user:bo", "release": {}}

    def sign_notes(_project: Any, unsigned: Any) -> list[UserNote]:
        calls.extend(("sign", kind, *lines) for kind, lines in unsigned)
        return [NOTE for _ in unsigned]

    def sign_as_user(project: Any, kind: str, *lines: str) -> UserNote:
        return sign_notes(project, [(kind, lines)])[0]

    for target in (module, release_module):
        monkeypatch.setattr(target, "run_worker", run_worker)
        monkeypatch.setattr(target, "sign_as_user", sign_as_user)
        monkeypatch.setattr(target, "require_terminal", lambda: None)
    monkeypatch.setattr(module, "sign_notes_as_user", sign_notes)
    monkeypatch.setattr(release_module, "read_run_state", lambda _: object())
    monkeypatch.setattr(release_module, "print_feature_diff", lambda *_: None)
    monkeypatch.setattr(ReleaseStore, "list_ids", lambda _: ("r1", "r2"))
    monkeypatch.setattr(ReleaseStore, "get", lambda _, name: released(id=name, digest="d2"))
    monkeypatch.setattr(ReleaseStore, "live_id", lambda _, model: "r1")
    monkeypatch.setattr(module.secrets, "token_hex", lambda _: SEED)
    monkeypatch.setattr(module, "run_current", current, raising=False)
    return calls


def jobs(requests: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [call for call in requests if call[0] not in {"sign", "releases", "feature-diff"}]


def signed(requests: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return what was signed, without the instants."""
    return [call[1:4] for call in requests if call[0] == "sign"]


def test_a_deployment_is_signed_with_share_and_seed(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    output = run("release", "deploy", "r2", "--share", "25%", "--project", root)
    assert output.code == 0
    assert signed(requests) == [("deployment", "denials", f"r1:r2:canary:0.25:{SEED}")]
    assert jobs(requests) == [("deploy", "r2", {"note": NOTE_FIELDS})]
    assert "release r2 answers 25% of the requests of denials beside release r1" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring release promote r2"


def test_a_challenger_keeps_its_seed_when_its_share_changes(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    current: Any = module.__dict__["run_current"]
    current.update({"challenger": "r2", "share": "0.1", "seed": "0" * 16})
    run("release", "deploy", "r2", "--share", "0.5", "--project", root)
    run("release", "deploy", "r2", "--project", root)
    assert [lines[2] for lines in signed(requests)] == [
        f"r1:r2:canary:0.5:{'0' * 16}", f"r1:r2:canary:0.1:{'0' * 16}",
    ]  # fmt: skip


def test_an_approval_as_the_challenger_is_one_login_and_two_jobs(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    output = run("release", "approve", "r2", "--challenger", "--project", root)
    assert output.code == 0
    assert signed(requests) == [
        ("release", "denials", "r2"), ("deployment", "denials", f"r1:r2:canary:0.1:{SEED}"),
    ]  # fmt: skip
    assert jobs(requests) == [
        ("approve", "r2", {"note": NOTE_FIELDS, "challenger": True}), ("deploy", "r2", {"note": NOTE_FIELDS}),
    ]  # fmt: skip


def test_a_share_without_a_challenger_is_a_usage_error(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    output = run("release", "approve", "r2", "--share", "0.5", "--project", root)
    assert output.code == 64
    assert "add --challenger" in output.err
    assert requests == []


def test_the_role_ends_and_the_challenger_is_promoted(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    current: Any = module.__dict__["run_current"]
    current.update({"challenger": "r2", "share": "0.1", "seed": "0" * 16})
    assert run("release", "undeploy", "denials", "--project", root).code == 0
    assert run("release", "promote", "r2", "--project", root).code == 0
    assert signed(requests) == [("undeployment", "denials", "r1:r2"), ("release", "denials", "r2")]
    assert [call[:2] for call in jobs(requests)] == [("undeploy", "denials"), ("approve", "r2")]


def test_what_does_not_exist_is_not_found_before_the_login(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    assert run("release", "deploy", "r3", "--project", root).code == 66
    output = run("release", "undeploy", "denials", "--project", root)
    assert "denials has no challenger" in output.err
    assert signed(requests) == []


def test_an_unapproved_release_is_not_promoted(run: Run, root: Path, requests: list[tuple[Any, ...]]):
    output = run("release", "promote", "r1", "--project", root)
    assert output.code == 77
    assert "release r1 is not approved" in output.err
    assert signed(requests) == []


@pytest.mark.parametrize(("text", "share"), [("0.1", "0.1"), ("10%", "0.1"), ("12.5%", "0.125"), ("0.0001", "0.0001")])
def test_a_share_is_read_as_a_number_or_a_percentage(text: str, share: str):
    context: Any = None
    assert module.validate_share(context, context, text) == share


@pytest.mark.parametrize("text", ["0", "1", "100%", "-0.1", "x", "", "0.00001", "nan", "inf", "1e-9"])
def test_a_share_that_is_none_is_refused(text: str):
    context: Any = None
    with pytest.raises(click.BadParameter):
        module.validate_share(context, context, text)

"""The commands up, down, status, doctor and clean, without a running server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run
from wellspring.cli import worker_client
from wellspring.errors import Unavailable
from wellspring.runtime.run_state import RunState, ServerState
from wellspring.supervisor import client
from wellspring.supervisor.client import ServerStatus

RUNNING = RunState.model_validate(
    {
        "supervisor": {"pid": 7, "start_ticks": 1, "version": "0.1.0"},
        "servers": {"openbao": ServerState(pid=8, start_ticks=1, version="2.5")},
        "started_at": "2026-11-25T12:00:00Z",
        "separation": "process",
        "separation_reason": "no root",
    }
)
PUBLISHED = {
    "edition": {
        "tenant": "acme", "known_since": "2026-11-25T12:00:00.000000Z", "id": "abc", "level": "landed", "parent": None,
        "drops": ["c-1"], "tables": [{"table": "claim", "snapshot_id": 1, "rows": 1200}],
    },
    "accounts": {
        "drop:c-1": {
            "received": 1200, "published": 1190, "quarantined": 10, "rejected": 0, "discarded": 0, "waiting": 0,
            "balanced": True,
        }
    },
    "total": {
        "received": 1300, "published": 1290, "quarantined": 10, "rejected": 0, "discarded": 0, "waiting": 0,
        "balanced": True, "drops": 2000,
    },
}  # fmt: skip


def test_status_before_the_first_up_exits_69_and_creates_nothing(run: Run, root: Path):
    files = sorted(root.rglob("*"))
    output = run("status", "--project", root)
    assert output.code == 69
    assert output.out.splitlines()[-1] == "next: wellspring up"
    assert sorted(root.rglob("*")) == files


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Simulate a project that is up. state: that of its only server."""

    def up(state: str) -> None:
        rows = [
            ServerStatus("supervisor", "up", 7, "", "0.1.0", 0),
            ServerStatus("openbao", state, 8, "x.sock", "2.5", 64101),
        ]
        monkeypatch.setattr(client, "list_server_status", lambda project: rows)
        monkeypatch.setattr("wellspring.cli.servers.read_run_state", lambda project: RUNNING)

    return up


def test_status_prints_servers_separation_edition_and_accounts(
    run: Run, root: Path, up: Any, monkeypatch: pytest.MonkeyPatch
):
    up("up")
    monkeypatch.setattr(worker_client, "run_worker", lambda project, job, **_: PUBLISHED)
    output = run("status", "--project", root)
    assert output.code == 0
    assert "separated by process and keys, not by user: no root" in output.out
    assert "edition abc," in output.out
    assert "claim 1,200 rows" in output.out
    line = next(line.split() for line in output.out.splitlines() if line.startswith("drop:c-1"))
    assert line == ["drop:c-1", "1,200", "1,190", "10", "0", "0", "0", "yes"]
    assert "all 2,000 drops     1,300" in output.out
    document = run("status", "--json", "--project", root).document
    assert document["accounts"] == PUBLISHED["accounts"]
    assert document["servers"][1]["name"] == "openbao"


def test_status_with_a_dead_server_exits_69(run: Run, root: Path, up: Any):
    up("dead")
    output = run("status", "--project", root)
    assert output.code == 69
    assert "openbao" in output.out


def test_status_during_another_run_still_shows_the_servers(
    run: Run, root: Path, up: Any, monkeypatch: pytest.MonkeyPatch
):
    def busy(project: Any, job: str, **_: Any) -> Any:
        raise Unavailable("another run is under way in this project", fix="wait")

    up("up")
    monkeypatch.setattr(worker_client, "run_worker", busy)
    output = run("status", "--project", root)
    assert output.code == 0
    assert "accounts: another run is under way" in output.out


def test_down_without_running_servers_changes_nothing(run: Run, root: Path):
    output = run("down", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "nothing was running")


def test_clean_without_confirmation_removes_nothing(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / ".wellspring").mkdir()
    (root / ".wellspring" / "kept").touch()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    output = run("clean", "--project", root)
    assert (output.code, "confirm with --yes" in output.err) == (64, True)
    assert (root / ".wellspring" / "kept").exists()
    for answer in ("n\n", ""):
        at_terminal = io.StringIO(answer)
        monkeypatch.setattr(at_terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", at_terminal)
        output = run("clean", "--project", root)
        assert output.code == 130
        assert "remove every drop, edition, model, proof and user of" in output.out + output.err
        assert f"{root / 'vendor'} with every file in it" in output.out + output.err
        assert "stopped: interrupted" in output.err
        assert (root / ".wellspring" / "kept").exists()


def test_clean_with_yes_removes_only_server_data(run: Run, root: Path):
    for name in (".wellspring", "witness", "vendor"):
        (root / name).mkdir()
    output = run("clean", "--yes", "--project", root)
    assert output.code == 0
    assert sorted(path.name for path in root.iterdir()) == ["contracts", "wellspring.toml"]
    assert run("clean", "--yes", "--project", root).code == 0


def test_doctor_prints_a_fix_for_each_failed_check(run: Run, root: Path):
    for path in (root / "contracts").iterdir():
        path.unlink()
    output = run("doctor", "--project", root)
    assert output.code == 1
    assert f"FAIL no contract in {root / 'contracts'}\n      fix: " in output.out
    assert any(not check["ok"] for check in run("doctor", "--json", "--project", root).document)


def test_up_with_a_missing_program_starts_nothing(run: Run, root: Path):
    with (root / "wellspring.toml").open("a") as toml:
        toml.write('\n[servers]\nopenbao = "/nowhere/bao"\n')
    output = run("up", "--project", root)
    assert output.code == 69
    assert "/nowhere/bao does not contain the programs of openbao" in output.err
    assert not (root / ".wellspring").exists()

"""receive and quarantine: what one run did, in words, in a document, and as an exit code; servers are never started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Run
from wellspring.cli import ingest as module
from wellspring.project import load_project
from wellspring.supervisor import client

ACCOUNT = {"received": 10, "published": 8, "quarantined": 2, "rejected": 0, "discarded": 0, "waiting": 0}
EDITION = {"id": "abc", "level": "landed"}


def received(**more: Any) -> dict[str, Any]:
    """What the worker answers: by default a published drop of which two rows wait."""
    outcome = {"name": "a.csv", "status": "published", "drop": "c-1", "contract": "claim", "account": ACCOUNT}
    reason = {"code": "enum", "message": "not in the list", "column": "kind", "count": 2}
    return {
        "source": "clearinghouse", "verdict": {"outcome": "pass", "reasons": []}, "edition": EDITION, "newly_published": True,
        "age_seconds": 1, "files": [{**outcome, "reasons": [reason]}], **more,
    }  # fmt: skip


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the worker answer this; returns what was asked of it."""
    requests: list[tuple[str, ...]] = []

    def answers(value: Any) -> list[tuple[str, ...]]:
        def follow(project: Any, *words: str, **_: Any) -> Any:
            requests.append(words)
            return value

        monkeypatch.setattr(module, "run_worker", follow)
        return requests

    return answers


COMMANDS = (
    ["ingest"],
    ["ingest", "clearinghouse"],
    ["quarantine", "list"],
    ["quarantine", "show", "d"],
    ["quarantine", "replay", "d"],
)


@pytest.mark.parametrize("words", COMMANDS)
def test_with_the_servers_down_it_says_so_and_starts_nothing(run: Run, root: Path, words: list[str]):
    before, files = {item.pid for item in psutil.Process().children(recursive=True)}, sorted(root.rglob("*"))
    output = run(*words, "--project", root)
    assert output.code == 69
    assert output.err == f"unavailable: the servers of {root} are not up\nfix: run `wellspring up`\n"
    assert sorted(root.rglob("*")) == files
    assert not load_project(root).runtime_dir.exists()
    assert {item.pid for item in psutil.Process().children(recursive=True)} == before
    assert run(*words, "--json", "--project", root).complaint["error"] == "unavailable"


def test_an_unknown_source_is_answered_with_the_nearest_even_with_the_servers_down(run: Run, root: Path):
    output = run("ingest", "clearinghose", "--project", root)
    assert output.code == 66
    assert "no source 'clearinghose'" in output.err
    assert "did you mean 'clearinghouse'?" in output.err


def test_of_several_sources_one_must_be_named(run: Run, root: Path, answers: Any):
    with (root / "wellspring.toml").open("a") as toml:
        toml.write('\n[sources.lab]\nkind = "sftp"\n')
    output = run("ingest", "--project", root)
    assert output.code == 64
    assert "clearinghouse, lab" in output.err
    requests = answers(received(source="lab"))
    run("ingest", "lab", "--project", root)
    assert requests == [("ingest", "lab")]


def test_the_only_source_needs_no_name(run: Run, root: Path, answers: Any):
    requests = answers(received())
    output = run("ingest", "--project", root)
    assert requests == [("ingest", "clearinghouse")]
    assert output.code == 0
    assert "a.csv  published        10          8            2         0        0" in output.out
    assert "a.csv: 2 x enum in kind: not in the list" in output.out
    assert "published edition abc" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring quarantine list"


def test_the_document_is_what_the_worker_answered(run: Run, root: Path, answers: Any):
    answers(received())
    assert run("ingest", "--json", "--project", root).document == received()


def test_nothing_new_has_an_exit_code_and_says_what_readers_see(run: Run, root: Path, answers: Any):
    answers(received(files=[], newly_published=False, age_seconds=7_300))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert output.out.splitlines()[0] == (
        "nothing new in clearinghouse; readers keep the last good edition abc, 2 h old"
    )


def test_before_the_first_edition_nothing_is_promised(run: Run, root: Path, answers: Any):
    answers(received(files=[], newly_published=False, edition=None, age_seconds=None))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert "nothing is published yet" in output.out


def test_a_finding_alone_needs_somebody_to_look_and_is_said(run: Run, root: Path, answers: Any):
    reason = {"code": "unmatched", "message": "it fits no contract", "column": None, "count": None}
    odd = {"name": "odd.csv", "status": "finding", "drop": None, "contract": None, "account": None, "reasons": [reason]}
    answers(received(files=[odd], newly_published=False))
    output = run("ingest", "--project", root)
    assert output.code == 75
    assert "odd.csv: unmatched: it fits no contract" in output.out


def test_a_stopped_drop_has_an_exit_code_and_the_last_good_edition_is_said(run: Run, root: Path, answers: Any):
    reason = {"code": "set_incomplete", "message": "drop c-2 is stopped", "column": None, "count": None}
    stopped = {"name": "b.csv", "status": "stopped", "drop": "c-2", "contract": "claim", "reasons": []}
    stopped["account"] = {**ACCOUNT, "published": 0, "quarantined": 0, "rejected": 10}
    answers(
        received(
            files=[stopped], newly_published=False, age_seconds=40, verdict={"outcome": "fail", "reasons": [reason]}
        )
    )
    output = run("ingest", "--project", root)
    assert output.code == 75
    assert "readers keep the last good edition abc, 40 s old" in output.out
    assert "set_waits: drop c-2 is stopped" in output.out
    assert "next: wellspring ingest " in output.out.splitlines()[-1]


def waiting(drop: str, number: int, **values: str) -> dict[str, Any]:
    reason = {"code": "enum", "message": "not in the list", "column": "kind", "count": 1}
    until = "2026-12-02T10:00:00.000000Z"
    return {"drop": drop, "row_number": number, "reasons": [reason], "values": values, "expires_at": until}


def test_quarantine_is_listed_by_drop_with_counts(run: Run, root: Path, answers: Any):
    requests = answers([waiting("c-1", 3), waiting("c-1", 4), waiting("c-2", 1)])
    output = run("quarantine", "list", "--project", root)
    assert requests == [("quarantined",)]
    assert "c-1      2  2 enum   2026-12-02" in output.out
    assert "next: wellspring quarantine show c-1" in output.out
    document = run("quarantine", "list", "--json", "--project", root).document
    assert [(item["drop"], item["rows"], item["reasons"]) for item in document] == [
        ("c-1", 2, {"enum": 2}),
        ("c-2", 1, {"enum": 1}),
    ]


def test_an_empty_quarantine_is_said(run: Run, root: Path, answers: Any):
    answers([])
    output = run("quarantine", "list", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "no row waits in quarantine")
    assert "no row of c-9 waits in quarantine" in run("quarantine", "show", "c-9", "--project", root).out


def test_twenty_rows_are_shown_and_the_rest_is_counted(run: Run, root: Path, answers: Any):
    answers([waiting("c-1", number, kind="p***") for number in range(1, 26)])
    output = run("quarantine", "show", "c-1", "--project", root)
    assert "row 1\n  enum in kind: not in the list  p***\n" in output.out
    assert "row 20\n" in output.out
    assert "row 21\n" not in output.out
    assert "and 5 more" in output.out


def test_a_replay_is_told_like_a_receive(run: Run, root: Path, answers: Any):
    requests = answers(received())
    assert run("quarantine", "replay", "drop:c-1", "--project", root).code == 0
    assert requests == [("replay", "drop:c-1")]


@pytest.mark.parametrize("words", [*COMMANDS, ["prove", "drop:d", "--out", "nowhere"]])
def test_no_run_starts_a_server_by_itself(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    started: list[Path] = []
    monkeypatch.setattr(client, "start_servers", lambda project, **_: started.append(project.root))
    assert run(*words, "--project", root).code == 69
    assert started == []

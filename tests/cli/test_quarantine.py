"""The `quarantine` commands: their text and documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.command_line import Run, StubWorker
from tests.builders.ingest_results import ingest_result
from wellspring.cli import quarantine as module


def quarantined_row(drop: str, number: int, **values: str) -> dict[str, Any]:
    reason = {"code": "enum", "message": "not in the list", "column": "kind", "count": 1}
    until = "2026-12-02T10:00:00.000000Z"
    return {"drop": drop, "row_number": number, "reasons": [reason], "values": values, "expires_at": until}


def test_quarantine_is_listed_by_drop_with_counts(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, [quarantined_row("c-1", 3), quarantined_row("c-1", 4), quarantined_row("c-2", 1)])
    output = run("quarantine", "list", "--project", root)
    assert calls == [("quarantined", None)]
    assert "c-1      2  2 enum   2026-12-02" in output.out
    assert "next: wellspring quarantine show c-1" in output.out
    document = run("quarantine", "list", "--json", "--project", root).document
    assert [(summary["drop"], summary["rows"], summary["reasons"]) for summary in document] == [
        ("c-1", 2, {"enum": 2}),
        ("c-2", 1, {"enum": 1}),
    ]


def test_an_empty_quarantine(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [])
    output = run("quarantine", "list", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "no row is quarantined")
    assert "no row of c-9 is quarantined" in run("quarantine", "show", "c-9", "--project", root).out


def test_twenty_rows_are_shown_and_the_rest_is_counted(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [quarantined_row("c-1", number, kind="p***") for number in range(1, 26)])
    output = run("quarantine", "show", "c-1", "--project", root)
    assert "row 1\n  enum in kind: not in the list  p***\n" in output.out
    assert "row 20\n" in output.out
    assert "row 21\n" not in output.out
    assert "and 5 more" in output.out


def test_a_replay_prints_an_ingest_result(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, ingest_result())
    assert run("quarantine", "replay", "drop:c-1", "--project", root).code == 0
    assert calls == [("replay", "drop:c-1", None)]

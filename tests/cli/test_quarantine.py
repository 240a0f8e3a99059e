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


def test_quarantine_is_listed_by_drop_with_the_counts_of_the_enclave(run: Run, root: Path, stub_worker: StubWorker):
    until = "2026-12-02T10:00:00.000000Z"
    summaries = [
        {"drop": "c-1", "rows": 1_234_567, "reasons": {"enum": 1_234_567, "type": 2}, "expires_at": until},
        {"drop": "c-2", "rows": 1, "reasons": {"enum": 1}, "expires_at": until},
    ]
    calls = stub_worker(module, summaries)
    output = run("quarantine", "list", "--project", root)
    assert calls == [("quarantine-counts", None)]
    assert "c-1   1,234,567  1,234,567 enum, 2 type  2026-12-02" in output.out
    assert "next: wellspring quarantine show c-1" in output.out
    assert run("quarantine", "list", "--json", "--project", root).document == summaries


def test_an_empty_quarantine(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [])
    output = run("quarantine", "list", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "no row is quarantined")
    stub_worker(module, {"drop": "c-9", "total": 0, "rows": []})
    assert "no row of c-9 is quarantined" in run("quarantine", "show", "c-9", "--project", root).out


def test_twenty_rows_are_shown_of_the_true_number(run: Run, root: Path, stub_worker: StubWorker):
    rows = [quarantined_row("c-1", number, kind="***") for number in range(1, 26)]
    calls = stub_worker(module, {"drop": "c-1", "total": 4_000, "rows": rows})
    output = run("quarantine", "show", "c-1", "--project", root)
    assert calls == [("quarantined", "c-1", None)]
    assert "row 1\n  enum in kind: not in the list  ***\n" in output.out
    assert "row 20\n" in output.out
    assert "row 21\n" not in output.out
    assert "shown: 20 of 4,000 quarantined rows; --json lists 25\n" in output.out
    assert run("quarantine", "show", "c-1", "--json", "--project", root).document["total"] == 4_000


def test_a_replay_prints_an_ingest_result(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, ingest_result())
    assert run("quarantine", "replay", "drop:c-1", "--project", root).code == 0
    assert calls == [("replay", "drop:c-1", None)]

"""The `outcome` commands: their jobs, text and documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import outcome as module

MODELS = [{"model": "denials", "predictions": 1204, "with_outcome": 37}]


def test_new_predictions_and_outcomes_are_counted(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    recorded = {"predictions": 1204, "outcomes": 37, "log_position": 9000, "models": MODELS}
    jobs: list[str] = []

    def run_worker(project: Any, job: str, *, on_progress: Any) -> Any:
        jobs.append(job)
        return recorded

    monkeypatch.setattr(module, "run_worker", run_worker)
    output = run("outcome", "record", "--project", root)
    assert (output.code, jobs) == (0, ["record-outcomes"])
    assert output.out.splitlines()[0] == "1,204 new predictions, 37 new outcomes"
    assert "1,204" in output.out.splitlines()[3]
    assert output.out.splitlines()[-1] == "next: wellspring outcome list"
    assert run("outcome", "record", "--json", "--project", root).document == recorded


def test_without_a_prediction_the_list_says_so(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, [])
    output = run("outcome", "list", "--project", root)
    assert (output.code, output.out.splitlines()[0]) == (0, "no prediction is recorded yet")

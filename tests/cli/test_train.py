"""The `train` command: its text, document and exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import train as module
from wellspring.errors import Refused
from wellspring.records.verdict import Reason, Verdict

FIGURE = {"value": 0.8123, "low": 0.79, "high": 0.83}
CANDIDATE: dict[str, Any] = {
    "id": "c" * 12, "model": "denials", "run": "r" * 32, "verdict": {"outcome": "pass", "reasons": []},
    "scores": {
        "train_rows": 41_000, "test_rows": 900, "main_metric": "auc", "metrics": {"auc": FIGURE},
        "baselines": {"rule": FIGURE},
    },
}  # fmt: skip


def test_train_prints_metrics_and_baselines(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, CANDIDATE)
    output = run("train", "denials", "--project", root)
    assert (output.code, calls) == (0, [("train", "denials", {"revision": {"commit": "", "dirty": False}})])
    assert "41,000 training rows, 900 test rows" in output.out
    assert "auc of baseline rule" in output.out
    assert "0.790 - 0.830" in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring release propose {'c' * 12}"
    assert run("train", "denials", "--json", "--project", root).document == CANDIDATE


def test_train_refused_by_the_gate_exits_77_with_reasons(run: Run, root: Path, stub_worker: StubWorker):
    verdict = Verdict(
        subject="run:1", outcome="fail", reasons=(Reason(code="worse_than_live", message="than what is live"),)
    )
    stub_worker(module, Refused("the gate refuses it", fix="train a better model", verdict=verdict))
    output = run("train", "denials", "--project", root)
    assert output.code == 77
    assert "worse_than_live: than what is live" in output.err


def test_train_reproduces_a_run(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, {"files": {"model.lgb": "1", "model.json": "2"}})
    output = run("train", "denials", "--reproduce", "r1", "--project", root)
    assert (output.code, calls) == (0, [("reproduce", "denials", {"run": "r1"})])
    assert "2 files with identical bytes" in output.out

"""The second half of the demo without a server; it runs completely in `make demo` and tests/phi."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import colleague
from wellspring.cli import demo_predictions, example_project, train
from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError
from wellspring.project import load_project


class Vendor:
    colleague = colleague


def test_a_leak_that_is_not_reported_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    example_project.copy_example(tmp_path)
    table = {"table": "claim_features", "rows": 3}
    built = {"newly_built": True, "tables": [table], "leaks": [], "online_rows": {}, "edition": {"id": "e"}}
    monkeypatch.setattr(demo_predictions, "run_worker", lambda *_, **__: built)
    with pytest.raises(CorruptedError, match="exactly the colleague's column is named"):
        list(
            demo_predictions._feature_scene(CliContext(folder=tmp_path, as_json=True), load_project(tmp_path), Vendor())
        )


def test_a_gate_that_lets_the_worse_model_pass_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    example_project.copy_example(tmp_path)
    jobs: list[str] = []
    monkeypatch.setattr(train, "run_worker", lambda *requests, **_: jobs.append(str(requests[1:])))
    with pytest.raises(CorruptedError, match="refuses a leak and a worse model"):
        list(
            demo_predictions._refused_scene(CliContext(folder=tmp_path, as_json=True), load_project(tmp_path), Vendor())
        )
    assert jobs == ["('train', 'denials')"] * 2


def test_the_colleague_edits_the_model_and_restores_it(tmp_path: Path):
    example_project.copy_example(tmp_path)
    model = tmp_path / "models/denials.py"
    shipped = model.read_text()
    colleague.leak(tmp_path)
    assert "claim_settlement:paid_amount" in model.read_text()
    colleague.forget(tmp_path)
    assert "provider_history:*" not in model.read_text().partition("features=")[2].partition("\n")[0]
    colleague.restore(tmp_path)
    assert model.read_text() == shipped


def test_the_colleague_changes_one_number_of_the_sql_once(tmp_path: Path):
    example_project.copy_example(tmp_path)
    model = tmp_path / "dbt/models/features/provider_history.sql"
    shipped = model.read_text().splitlines()
    colleague.smooth(tmp_path)
    changed = [pair for pair in zip(shipped, model.read_text().splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert changed[0][0].strip().endswith(f"as {colleague.SMOOTHED_FEATURE},")
    with pytest.raises(ValueError, match="does not have the line"):
        colleague.smooth(tmp_path)


def test_an_estimate_is_printed_with_its_interval():
    figure: dict[str, Any] = {"value": 0.8864, "low": 0.873, "high": 0.899}
    assert demo_predictions._format_interval(figure) == "0.886 (0.873 - 0.899)"

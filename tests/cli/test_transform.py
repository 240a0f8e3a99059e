"""The `transform` command: its text, document and exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import transform as module

TABLES = [{"table": "claim_features", "rows": 12}]
BUILT: dict[str, Any] = {
    "edition": {"id": "b" * 12, "parent": "a" * 12},
    "tables": TABLES,
    "newly_built": True,
    "leaks": [],
    "online_rows": {},
    "warm": [],
    "release": "r" * 12,
    "is_on_disk": True,
}


def test_transform_prints_the_built_edition(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, {**BUILT, "leaks": ["claim_features.paid"], "online_rows": {"claim": 12}})
    output = run("transform", "--project", root)
    assert (output.code, calls) == (0, [("transform", None)])
    assert f"built edition {'b' * 12} from landed {'a' * 12}" in output.out
    assert "claim_features    12" in output.out
    assert "claim_features.paid used future data" in output.out
    assert "rows online" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring train MODEL"


def test_transform_says_that_the_code_on_disk_is_not_released(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, {**BUILT, "is_on_disk": False})
    output = run("transform", "--project", root).out
    assert "the dbt code on disk differs, and is built once it is released: wellspring --project" in output


def test_transform_prints_the_state_of_warm_releases(run: Run, root: Path, stub_worker: StubWorker):
    fresh = {"release": "r1", "model": "denials", "edition": "e1", "built": True, "problem": ""}
    stub_worker(module, {**BUILT, "warm": [fresh, {**fresh, "release": "r2", "problem": "a column is gone"}]})
    lines = run("transform", "--project", root).out.splitlines()
    assert "features of release r1 of denials: fresh, from edition e1" in lines
    assert "features of release r2 of denials: a column is gone" in lines


def test_transform_of_a_built_edition_exits_3(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, {**BUILT, "newly_built": False})
    output = run("transform", "--json", "--project", root)
    assert output.code == 3
    assert output.document == {**BUILT, "newly_built": False}

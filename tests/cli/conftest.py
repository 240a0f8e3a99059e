"""Fixtures for the command line: it runs in the process of the test, and its worker can be replaced."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.architecture import repository
from tests.builders.command_line import Output, Run, StubWorker
from tests.builders.projects import minimal_config
from tests.builders.shop import MANY_ROWS
from wellspring.cli import cli
from wellspring.cli.context import run_command

EXAMPLE = repository.ROOT / "examples" / "health_plan"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process. A traceback in the output fails the test."""

    def run(*words: object) -> Output:
        capsys.readouterr()
        code = run_command(cli, [str(word) for word in words])
        result = capsys.readouterr()
        assert "Traceback" not in result.out + result.err
        # Remove --project from the next command, so that a test need not know the folder.
        return Output(
            code, re.sub(r"(?<=^next: wellspring) --project \S+", "", result.out, flags=re.MULTILINE), result.err
        )

    return run


@pytest.fixture
def root() -> Iterator[Path]:
    """The example project in a folder that other users may read; its servers are never started."""
    folder = Path(tempfile.mkdtemp(prefix="ws-test-"))
    folder.chmod(0o755)
    (folder / "wellspring.toml").write_text(minimal_config())
    shutil.copytree(EXAMPLE / "contracts", folder / "contracts")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def stub_worker(monkeypatch: pytest.MonkeyPatch) -> StubWorker:
    """Replace `run_worker` in a module; it returns a value, or raises it. Returns the calls: (*words, params)."""

    def stub(module: ModuleType, value: Any) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def run_worker(project: Any, *words: str, params: Any = None, **_: Any) -> Any:
            calls.append((*words, params))
            if isinstance(value, BaseException):
                raise value
            return value

        monkeypatch.setattr(module, "run_worker", run_worker)
        return calls

    return stub


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project in the working directory, beside a CSV file of orders."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders_2026.csv").write_text(MANY_ROWS)
    assert run_command(cli, ["new", "project", "shop"]) == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"

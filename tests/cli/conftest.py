"""The command line inside the test's own process: what it printed, what it complained about, its exit code."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.architecture import repository
from tests.builders.projects import plain
from wellspring.cli import cli
from wellspring.cli.context import run_command

EXAMPLE = repository.ROOT / "examples" / "health_plan"


class Output(NamedTuple):
    """One command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> Any:
        return json.loads(self.err)


Run = Callable[..., Output]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Carry out one command line. No command may end in a traceback: an exception fails the test."""

    def run(*words: object) -> Output:
        capsys.readouterr()
        code = run_command(cli, [str(word) for word in words])
        result = capsys.readouterr()
        assert "Traceback" not in result.out + result.err
        # The next command names the project that was named; where that stands is not for each test to know.
        return Output(
            code, re.sub(r"(?<=^next: wellspring) --project \S+", "", result.out, flags=re.MULTILINE), result.err
        )

    return run


@pytest.fixture
def root() -> Iterator[Path]:
    """The example project, never started, where services of other users could enter it."""
    folder = Path(tempfile.mkdtemp(prefix="ws-test-"))
    folder.chmod(0o755)
    (folder / "wellspring.toml").write_text(plain())
    shutil.copytree(EXAMPLE / "contracts", folder / "contracts")
    yield folder
    shutil.rmtree(folder)

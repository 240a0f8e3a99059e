"""A project without servers, and a function that executes one job in it."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wellspring.worker import executor

TOML = '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n'
Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "wellspring.toml").write_text(TOML)
    (tmp_path / ".wellspring").mkdir()
    return tmp_path


@pytest.fixture
def play(root: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Carry out one run in this process, which must not be confined for good."""
    monkeypatch.setattr(executor, "confine_process", lambda project, role: "")

    def play(
        run: str, subject: str = "", credential: Any = None, params: dict[str, Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        out = io.StringIO()
        code = executor.execute_job(Namespace(run=run, subject=subject, project=root), credential, out, params)
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    return play

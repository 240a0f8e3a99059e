"""A project without servers, and a function that answers one query in it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wellspring.project import load_project
from wellspring.worker import query_process
from wellspring.worker.query_process import QueryAssignment

TOML = '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n'
Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "wellspring.toml").write_text(TOML)
    (tmp_path / ".wellspring").mkdir()
    return tmp_path


@pytest.fixture
def play(root: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Answer one query in this process, which must not be confined for good."""
    monkeypatch.setattr(query_process, "confine_process", lambda project, role: "")

    def play(
        run: str, subject: str = "", credential: Any = None, params: dict[str, Any] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        out = io.StringIO()
        project = load_project(root, sources=False)
        assignment = QueryAssignment(run, subject, params or {}, credential)
        code = query_process.answer_query(project, assignment, out)
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    return play

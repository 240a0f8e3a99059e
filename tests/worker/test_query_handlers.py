"""Queries that need no server: lists of candidates and releases, and the history of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.builders.approvals import release
from wellspring.models.releases import candidates
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import load_project
from wellspring.records.record import format_instant

Play = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def books(root: Path) -> Path:
    """Make the folders that the worker writes; returns that of the models."""
    project = load_project(root)
    for folder in (
        project.journals_dir,
        project.ledger_dir,
        project.lake_dir,
        project.state_dir / "metrics",
        project.state_dir / "lineage",
    ):
        folder.mkdir(parents=True)
    return project.models_dir


def test_before_the_first_model_there_is_no_candidate_and_no_release(play: Play, books: Path):
    assert play("releases") == (0, [{"event": "result", "value": {"candidates": [], "releases": [], "changes": []}}])


def test_candidates_and_releases_are_listed_with_the_servers_down(play: Play, books: Path):
    releases, candidate = ReleaseStore(books), synthetic_world.candidate()
    candidates.save_candidate(candidate, paths=releases.paths)
    stored = releases.save(release(candidate=candidate.id))
    releases.set_live(stored)
    code, lines = play("releases")
    value = lines[-1]["value"]
    assert code == 0
    assert [(item["id"], item["outcome"], item["created_at"]) for item in value["candidates"]] == [
        (candidate.id, "pass", format_instant(candidate.known_since))
    ]
    assert value["releases"] == [
        {
            "model": "denials",
            "id": stored.id,
            "candidate": candidate.id,
            "proposed_by": "",
            "approved_by": "",
            "live": True,
            "evaluated_against_live": False,
            "mode": "",
            "warm": False,
            "challenger_share": "",
        }
    ]


@pytest.mark.parametrize("instant", [None, "2026-11-25T14:00:00Z", "2026-11-25T14:00:00+02:00"])
@pytest.mark.usefixtures("books")
def test_a_history_without_a_switch_is_empty(play: Play, root: Path, instant: str | None):
    (root / "models").mkdir()
    (root / "models" / "denials.py").touch()
    (root / "wellspring.toml").write_text((root / "wellspring.toml").read_text() + "\n[models]\n")
    assert play("history", "denials", params={"instant": instant}) == (0, [{"event": "result", "value": []}])
    code, (result,) = play("history", "denails", params={"instant": instant})
    assert (code, result["fix"]) == (66, "did you mean 'denials'?")


@pytest.mark.parametrize("instant", ["yesterday", "", "2026-11-25T14:00:00", "2026-13-01T00:00:00Z"])
def test_an_instant_that_is_none_is_78(play: Play, books: Path, instant: str):
    code, lines = play("history", "denials", params={"instant": instant})
    assert code == 78
    assert "is not a timestamp" in lines[0]["what"]
    assert lines[0]["fix"] == "write it as 2026-11-25T14:00:00Z"

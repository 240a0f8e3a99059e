"""A story is sealed before it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.workflow_editions import BUILT, LANDED
from wellspring.errors import CorruptedError, Unavailable
from wellspring.operations.stored_state import StateProblem
from wellspring.records.lake import Edition
from wellspring.workflows import prove


def test_an_unsealed_story_needs_the_servers_and_unchanged_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    records: Any = SimpleNamespace(
        index=None, project=SimpleNamespace(lake_dir=tmp_path, models_dir=tmp_path, changes_dir=tmp_path)
    )
    story = SimpleNamespace(subject="drop:a", entries=())
    problems: list[StateProblem] = []
    monkeypatch.setattr(prove.evidence, "collect_story", lambda index, subject, sealed: story)
    monkeypatch.setattr(prove.evidence, "collect_documents", lambda result, *folders: {})
    monkeypatch.setattr(prove.evidence, "find_seal", lambda index, result, documents: None)
    monkeypatch.setattr(prove, "open_stored_state", lambda project: None)
    monkeypatch.setattr(prove, "list_story_problems", lambda state, editions: problems)
    with pytest.raises(Unavailable, match="not sealed") as raised:
        prove.prove_subject(records, "drop:a", tmp_path / "pack")
    assert raised.value.fix == "run `wellspring up`"
    assert not (tmp_path / "pack").exists()
    problems.append(StateProblem("/lake/a.parquet was changed", "restore it"))
    with pytest.raises(CorruptedError, match=r"drop:a is not proved: /lake/a\.parquet was changed"):
        prove.prove_subject(records, "drop:a", tmp_path / "pack")


@pytest.mark.parametrize(
    ("edition", "sealed"),
    [(LANDED, [LANDED.subject, "drop:d", "dataset:claim"]), (BUILT, [BUILT.subject, "drop:d"])],
)
def test_a_published_edition_is_sealed_and_what_it_brought(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edition: Edition, sealed: list[str]
):
    result: list[str] = []
    monkeypatch.setattr(prove.evidence, "collect_story", lambda index, subject, sealed: subject)
    monkeypatch.setattr(prove.evidence, "collect_documents", lambda story, *folders: {})
    monkeypatch.setattr(prove.evidence, "seal_story", lambda step, index, story, *_: result.append(story))
    project = SimpleNamespace(lake_dir=tmp_path, models_dir=tmp_path, changes_dir=tmp_path)
    project_value: Any = SimpleNamespace(
        ledger=SimpleNamespace(index=None, project=project),
        step=None,
        sequencer=SimpleNamespace(integrate=lambda: result.append("integrated")),
    )
    prove.seal_edition(project_value, edition)
    assert result == [*sealed, "integrated"]

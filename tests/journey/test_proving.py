"""A story is sealed before it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wellspring.errors import Unavailable
from wellspring.journey import proving


def test_a_story_that_is_not_sealed_needs_the_house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    records: Any = SimpleNamespace(index=None, project=SimpleNamespace(lake=tmp_path))
    monkeypatch.setattr(proving.evidence, "story", lambda index, subject: object())
    monkeypatch.setattr(proving.evidence, "papers", lambda told, folder: {})
    monkeypatch.setattr(proving.evidence, "seal_of", lambda index, told, papers: None)
    with pytest.raises(Unavailable, match="not sealed") as raised:
        proving.prove(records, "drop:a", tmp_path / "pack")
    assert raised.value.fix == "run `wellspring up`"
    assert not (tmp_path / "pack").exists()

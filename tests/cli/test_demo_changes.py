"""The scene of a changed feature without a server; it runs completely in `make demo`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wellspring.cli import demo_changes
from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError


@pytest.mark.parametrize(
    ("editions", "scores", "what"),
    [
        (["e9"], [0.5], "the live release keeps the edition that its own SQL built"),
        (["e1"], [0.75], "an edit of dbt changes no answer"),
    ],
)
def test_an_edit_that_reaches_a_live_model_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, editions: list[str], scores: list[float], what: str
):
    first = [SimpleNamespace(score=0.5, edition="e1")]
    answers = iter([first, [SimpleNamespace(score=score, edition="e1") for score in scores]])
    results: dict[str, Any] = {
        "latest-keys": [{}],
        "draft-change": {},
        "transform": {
            "warm": [{"edition": edition} for edition in editions],
            "edition": {"id": "e2"},
            "is_on_disk": False,
        },
    }
    monkeypatch.setattr(demo_changes, "run_worker", lambda project, kind, *_, **__: results[kind])
    monkeypatch.setattr(demo_changes, "_predict_all", lambda *_: next(answers))
    colleague = SimpleNamespace(smooth=lambda root: None, SMOOTHED_VIEW="history", SMOOTHED_FEATURE="rate")
    vendor: Any = SimpleNamespace(colleague=colleague)
    project: Any = SimpleNamespace(root=None)
    released = {"release": {"id": "r1", "summary": ["feature history.rate: 1 of 1 rows differ"]}, "state": "live"}
    users: Any = SimpleNamespace(run_as=lambda *_: (0, released))
    with pytest.raises(CorruptedError, match=what):
        list(demo_changes.run_change_scene(CliContext(folder=None, as_json=True), project, users, vendor))

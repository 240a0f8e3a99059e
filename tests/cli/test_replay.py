"""The `replay` command: its text and exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import replay as module

REPLAYED: dict[str, Any] = {"equal": True, "first_difference": "", "score": (0.25).hex()}


@pytest.mark.parametrize(
    ("replayed", "code", "words"),
    [
        (REPLAYED, 0, "equal to the last bit (0.250000)"),
        (
            {**REPLAYED, "equal": False, "first_difference": "the vector"},
            20,
            "differs from the recorded prediction: the vector",
        ),
    ],
)
def test_replay_exits_20_for_a_different_prediction(
    run: Run, root: Path, stub_worker: StubWorker, replayed: Any, code: int, words: str
):
    calls = stub_worker(module, [replayed])
    output = run("replay", "prediction:p1", "--project", root)
    assert (output.code, calls) == (code, [("replay-predictions", "prediction:p1", None)])
    assert words in output.out

"""The `predict` command: its request to the API, and its text and document."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.command_line import Run, StubWorker
from wellspring import client
from wellspring.cli import predict as module


class FakeClient:
    """A client of the API that records its requests and returns one prediction."""

    requests: list[tuple[Any, ...]]

    def __init__(self, project: Any, *, trace: str) -> None:
        assert len(trace) == 32

    def predict(self, model: str, keys: dict[str, str], *, include_reasons: bool = True) -> Any:
        self.requests.append((model, keys, include_reasons))
        reasons = (
            SimpleNamespace(contribution=1, description="no authorization"),
            SimpleNamespace(contribution=-1, description="in network"),
        )
        return SimpleNamespace(
            mode="governed", decision="denies", score=0.71, threshold="0.40", freshness="fresh",
            interval=None, probabilities=None, release="r1", edition="e1",
            as_of=datetime(2026, 11, 25, 12, tzinfo=UTC), subject="prediction:p1", reasons=reasons,
            model_dump=lambda mode: {"id": "p1"},
        )  # fmt: skip


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    FakeClient.requests = []
    monkeypatch.setattr(client, "Client", FakeClient)
    return FakeClient.requests


def test_predict_by_tokens(run: Run, root: Path, requests: list[Any]):
    output = run("predict", "denials", "claim_id=t=1", "billing_npi=t2", "--no-reasons", "--project", root)
    assert output.code == 0
    assert requests == [("denials", {"claim_id": "t=1", "billing_npi": "t2"}, False)]
    assert "denies (0.710, threshold 0.40); fresh" in output.out
    assert "  + no authorization\n  - in network\n" in output.out
    assert "as of 2026-11-25 12:00 UTC" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring prove prediction:p1 --out PACK"


def test_predict_for_the_newest_row(run: Run, root: Path, requests: list[Any], stub_worker: StubWorker):
    stub_worker(module, [{"claim_id": "t9"}])
    assert run("predict", "denials", "--newest", "--json", "--project", root).document == {"id": "p1"}
    assert requests == [("denials", {"claim_id": "t9"}, True)]


@pytest.mark.parametrize(
    "words",
    [[], ["--newest", "claim_id=t"], ["123456789"], ["claim_id=t1", "claim_id=123456789"], ["=123456789"]],
)
def test_malformed_keys_are_neither_sent_nor_echoed(run: Run, root: Path, requests: list[Any], words: list[str]):
    output = run("predict", "denials", *words, "--project", root)
    assert (output.code, requests) == (64, [])
    assert "123456789" not in output.err + output.out


NUMBERS: dict[str, Any] = {"score": 17.1, "decision": "", "threshold": None, "interval": None, "probabilities": None}
CLASSES = tuple(
    SimpleNamespace(label=label, probability=share) for label, share in (("a", 0.6), ("b", 0.3), ("c", 0.1))
)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"interval": (8.2, 26)}, "17.100 (interval 8.200 to 26.000)"),
        ({"decision": "late", "threshold": "12"}, "late (17.100, threshold 12)"),
        ({"decision": "a", "score": 0.6, "probabilities": CLASSES}, "a (0.600, b 0.300, c 0.100)"),
        # A threshold may decide for a class that is not the most likely.
        ({"decision": "b", "score": 0.3, "probabilities": CLASSES}, "b (0.300, a 0.600, c 0.100)"),
        ({}, "17.100"),
    ],
)
def test_the_numbers_of_each_task_are_printed(numbers: dict[str, Any], text: str):
    prediction: Any = SimpleNamespace(**{**NUMBERS, **numbers})
    assert module.format_output(prediction) == text

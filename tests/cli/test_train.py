"""transform, learn, ask, replay: what the worker answered, in words, in a document, and as an exit code."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.conftest import Run
from wellspring import client
from wellspring.cli import train as module
from wellspring.errors import Refused
from wellspring.records.verdict import Reason, Verdict

TABLES = [{"table": "claim_features", "rows": 12}]
BUILT: dict[str, Any] = {
    "edition": {"id": "b" * 12, "parent": "a" * 12}, "tables": TABLES, "newly_built": True, "leaks": [], "online_rows": {},
}  # fmt: skip
FIGURE = {"value": 0.8123, "low": 0.79, "high": 0.83}
CANDIDATE: dict[str, Any] = {
    "id": "c" * 12, "model": "denials", "run": "r" * 32, "verdict": {"outcome": "pass", "reasons": []},
    "scores": {"train_rows": 41_000, "test_rows": 900, "metrics": {"auc": FIGURE}, "baselines": {"rule": FIGURE}},
}  # fmt: skip
REPLAYED: dict[str, Any] = {"equal": True, "first_difference": "", "score": (0.25).hex()}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the worker answer this; returns what was asked of it."""
    requests: list[tuple[Any, ...]] = []

    def answers(value: Any) -> list[tuple[Any, ...]]:
        def follow(project: Any, *words: str, arguments: Any = None, **_: Any) -> Any:
            requests.append((*words, arguments))
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(module, "run_worker", follow)
        return requests

    return answers


def test_a_new_built_edition_is_told(run: Run, root: Path, answers: Any):
    requests = answers({**BUILT, "leaks": ["claim_features.paid"], "online_rows": {"claim": 12}})
    output = run("transform", "--project", root)
    assert (output.code, requests) == (0, [("transform", None)])
    assert f"built edition {'b' * 12} from landed {'a' * 12}" in output.out
    assert "claim_features    12" in output.out
    assert "claim_features.paid knew the future" in output.out
    assert "rows online" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring train MODEL"


def test_what_was_built_already_is_3(run: Run, root: Path, answers: Any):
    answers({**BUILT, "newly_built": False})
    output = run("transform", "--json", "--project", root)
    assert output.code == 3
    assert output.document == {**BUILT, "newly_built": False}


def test_a_candidate_is_shown_beside_its_baselines(run: Run, root: Path, answers: Any):
    requests = answers(CANDIDATE)
    output = run("train", "denials", "--project", root)
    assert (output.code, requests) == (0, [("train", "denials", None)])
    assert "41,000 rows to learn from, 900 it never saw" in output.out
    assert "baseline: rule" in output.out
    assert "0.790 - 0.830" in output.out
    assert output.out.splitlines()[-1] == f"next: wellspring release propose {'c' * 12}"
    assert run("train", "denials", "--json", "--project", root).document == CANDIDATE


def test_a_gate_that_says_no_is_77_and_says_why(run: Run, root: Path, answers: Any):
    no = Verdict(
        subject="run:1", outcome="fail", reasons=(Reason(code="worse_than_live", message="than what is live"),)
    )
    answers(Refused("the gate says no", fix="learn a better one", verdict=no))
    output = run("train", "denials", "--project", root)
    assert output.code == 77
    assert "worse: than what is live" in output.err


def test_a_run_is_trained_again(run: Run, root: Path, answers: Any):
    requests = answers({"files": {"model.lgb": "1", "model.json": "2"}})
    output = run("train", "denials", "--reproduce", "r1", "--project", root)
    assert (output.code, requests) == (0, [("reproduce", "denials", {"run": "r1"})])
    assert "2 files, every byte the same" in output.out


@pytest.mark.parametrize(
    ("replayed", "code", "words"),
    [
        (REPLAYED, 0, "equal to the last bit (0.250000)"),
        ({**REPLAYED, "equal": False, "first_difference": "the vector"}, 20, "is not what was answered: the vector"),
    ],
)
def test_an_answer_that_differs_is_20(run: Run, root: Path, answers: Any, replayed: Any, code: int, words: str):
    requests = answers([replayed])
    output = run("replay", "prediction:p1", "--project", root)
    assert (output.code, requests) == (code, [("replay-predictions", "prediction:p1", None)])
    assert words in output.out


class Client:
    """The API's client: it answers at once. asked: what it was asked."""

    requests: list[tuple[Any, ...]]

    def __init__(self, project: Any) -> None:
        pass

    def predict(self, model: str, keys: dict[str, str], *, reasons: bool = True) -> Any:
        self.requests.append((model, keys, reasons))
        return SimpleNamespace(
            decision="denies", score=0.71, threshold="0.40", freshness="fresh", release="r1", edition="e1",
            as_of=datetime(2026, 11, 25, 12, tzinfo=UTC), subject="prediction:p1",
            reasons=(SimpleNamespace(contribution=1, description="no authorization"), SimpleNamespace(contribution=-1, description="in network")),
            model_dump=lambda mode: {"id": "p1"},
        )  # fmt: skip


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    Client.requests = []
    monkeypatch.setattr(client, "Client", Client)
    return Client.requests


def test_one_thing_is_asked_about_by_its_tokens(run: Run, root: Path, requests: list[Any]):
    output = run("predict", "denials", "claim_id=t=1", "billing_npi=t2", "--no-reasons", "--project", root)
    assert output.code == 0
    assert requests == [("denials", {"claim_id": "t=1", "billing_npi": "t2"}, False)]
    assert "denies (0.710, threshold 0.40); fresh" in output.out
    assert "  + no authorization\n  - in network\n" in output.out
    assert "as of 2026-11-25 12:00 UTC" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring prove prediction:p1 --out PACK"


def test_the_newest_row_is_asked_about(run: Run, root: Path, requests: list[Any], answers: Any):
    answers([{"claim_id": "t9"}])
    assert run("predict", "denials", "--newest", "--json", "--project", root).document == {"id": "p1"}
    assert requests == [("denials", {"claim_id": "t9"}, True)]


@pytest.mark.parametrize("words", [[], ["--newest", "claim_id=t"], ["123456789"]])
def test_keys_that_are_none_are_not_sent_and_not_echoed(run: Run, root: Path, requests: list[Any], words: list[str]):
    output = run("predict", "denials", *words, "--project", root)
    assert (output.code, requests) == (64, [])
    assert "123456789" not in output.err + output.out

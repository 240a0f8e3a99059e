"""The table of predictions has the tokens and the decision of each answer, exactly, and no feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builders.released_model import Released, ask, claim
from wellspring.errors import CorruptedError
from wellspring.models.outcomes.prediction_rows import build_prediction_rows, prediction_schema
from wellspring.records.features import FeatureViews
from wellspring.records.trust import IndexedEntry


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def predicted(project: Released) -> list[IndexedEntry]:
    return project.books.list_entries(action="predict", phase="done")


def build(project: Released, entries: list[IndexedEntry]) -> list[dict[str, object]]:
    loaded: list[str] = []

    def load_views(release: str) -> tuple[FeatureViews, Sequence[str]]:
        loaded.append(release)
        return project.views, ("claim_id", "billing_npi")

    reader = build_prediction_rows(entries, load_views)
    assert reader.schema == prediction_schema()
    rows = reader.read_all().to_pylist()
    assert len(loaded) == len(set(loaded))
    return rows


def test_each_answer_is_one_row_with_its_tokens(project: Released):
    release = project.released()
    answers = [ask(project, claim(number)).prediction for number in (3, 4)]
    rows = build(project, predicted(project))
    assert [row["prediction_id"] for row in rows] == [answer.id for answer in answers]
    for row, answer, number in zip(rows, answers, (3, 4), strict=True):
        assert (row["model"], row["release"], row["role"]) == ("denials", release.id, "stable")
        assert (row["score"], row["decision"], row["freshness"]) == (answer.score, answer.decision, answer.freshness)
        assert row["edition"] == answer.edition
        keys = claim(number)
        assert row["keys"] == f'{{"billing_npi":"{keys["billing_npi"]}","claim_id":"{keys["claim_id"]}"}}'
        assert isinstance(row["latency_us"], int)
        assert row["latency_us"] > 0
        assert str(row["entry"]).startswith("test:")


def test_an_entry_from_before_latencies_were_recorded_has_none(project: Released):
    project.released()
    ask(project)
    (indexed,) = predicted(project)
    facts = {name: value for name, value in indexed.entry.facts.items() if name != "latency_us"}
    older = IndexedEntry(index=indexed.index, entry=indexed.entry.model_copy(update={"facts": facts}))
    assert build(project, [older])[0]["latency_us"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"score": "much"},
        {"views": {"claim": ["2026-11-25T12:00:00.000000Z", 1, "claim_k1_x"]}},
        {"views": {"unheard": ["2026-11-25T12:00:00.000000Z", 1, "claim_k1_x"]}},
        {"views": "none"},
    ],
)
def test_an_entry_without_what_a_prediction_records_is_named(project: Released, change: dict[str, object]):
    project.released()
    ask(project)
    (indexed,) = predicted(project)
    entry = indexed.entry.model_copy(update={"facts": {**indexed.entry.facts, **change}})
    with pytest.raises(CorruptedError, match=f"{entry.id} does not name"):
        build(project, [IndexedEntry(index=indexed.index, entry=entry)])


def test_an_entry_without_a_release_is_named(project: Released):
    project.released()
    ask(project)
    (indexed,) = predicted(project)
    entry = indexed.entry.model_copy(update={"inputs": ()})
    with pytest.raises(CorruptedError, match="one release"):
        build(project, [IndexedEntry(index=indexed.index, entry=entry)])

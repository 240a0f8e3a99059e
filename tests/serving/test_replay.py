"""A replayed prediction equals the recorded one bit for bit; otherwise the first difference is reported."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.estimator_samples import linear_pipeline
from tests.builders.released_model import Released, claim
from wellspring.errors import CorruptedError, NotFound
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.port import Estimator
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline
from wellspring.query.registry import open_query_engine
from wellspring.serving.replay import PredictionReplayer
from wellspring.trust.identity.port import Principal

PIPELINE = linear_pipeline("binary")


@pytest.fixture
def project(tmp_path: Path) -> Released:
    built = Released(tmp_path)
    built.released()
    return built


def replayer(project: Released) -> PredictionReplayer:
    lake: Any = project.lake
    return PredictionReplayer(
        index=project.books,
        lake=lake,
        engine=open_query_engine("duckdb", {}),
        release_store=project.releases,
        load_scorer=project.load,
        views_by_digest=project.kept_views,
    )


def answered(project: Released, *numbers: int) -> list[str]:
    async def predict_all() -> list[str]:
        service, _ = project.service()
        # Concurrent, in many threads: a score must not depend on other requests.
        requests = [
            service.predict("denials", claim(n), include_reasons=n % 2 == 0, principal=Principal("service:portal"))
            for n in numbers
        ]
        results = await asyncio.gather(*requests)
        await service.close()
        return [result.prediction.id for result in results]

    return asyncio.run(predict_all())


def change(project: Released, prediction: str, **facts: Any) -> None:
    for position, entry in enumerate(project.step.entries):
        if entry.subject == f"prediction:{prediction}":
            project.step.entries[position] = entry.model_copy(update={"facts": {**entry.facts, **facts}})


def test_replay_reproduces_every_prediction_bit_for_bit(project: Released):
    ids = answered(project, *range(40), *range(40), *range(40))
    results = replayer(project).replay_all(ids)
    assert [result.first_difference for result in results] == [""] * 120
    assert all(result.equal for result in results)
    assert [result.prediction for result in results] == ids
    single = replayer(project).replay(f"prediction:{ids[7]}")
    assert single == results[7]
    (entry,) = [entry for entry in project.step.entries if entry.subject == f"prediction:{ids[7]}"]
    assert (single.score, single.vector_digest) == (entry.facts["score"], entry.inputs[3].digest)


@pytest.mark.parametrize("estimator", [SklearnPipeline(pipeline=PIPELINE), Onnx(pipeline=PIPELINE)])
def test_replay_reproduces_the_predictions_of_each_estimator(tmp_path: Path, estimator: Estimator):
    project = Released(tmp_path)
    project.released(estimator=estimator)
    results = replayer(project).replay_all(answered(project, *range(40)))
    assert [result.first_difference for result in results] == [""] * 40
    assert len({result.score for result in results}) > 10


def test_replay_works_after_new_release_and_edition(project: Released):
    (first,) = answered(project, 3)
    project.released(2)
    (second,) = answered(project, 3)
    before, after = replayer(project).replay_all([first, second])
    assert before.equal
    assert after.equal
    assert before.release != after.release
    assert before.score != after.score


def test_replay_detects_changed_value_in_lake(project: Released):
    (name,) = answered(project, 3)
    table = project.lake.tables["claim_features"]
    amounts = table["charge_amount"].to_pylist()
    amounts[3] += 1e-12
    position = table.column_names.index("charge_amount")
    project.lake.tables["claim_features"] = table.set_column(position, "charge_amount", pa.array(amounts))
    result = replayer(project).replay(name)
    assert not result.equal
    assert result.first_difference.startswith("the vector")


def test_replay_names_missing_row(project: Released):
    (name,) = answered(project, 3)
    project.lake.tables["claim_features"] = project.lake.tables["claim_features"].slice(10)
    result = replayer(project).replay(name)
    assert result.first_difference == "the row of claim: it is missing from its edition"


def test_replay_names_changed_score_or_decision(project: Released):
    rescored, redecided = answered(project, 3, 4)
    change(project, rescored, score=(0.5).hex())
    change(project, redecided, decision="maybe")
    first, second = replayer(project).replay_all([rescored, redecided])
    assert first.first_difference.startswith("the score: it was 0.5, and is ")
    assert second.first_difference.startswith("the decision: it was 'maybe'")
    assert not first.equal
    assert not second.equal


def test_replay_refuses_unknown_prediction_and_invalid_entry(project: Released):
    with pytest.raises(NotFound, match="has no prediction"):
        replayer(project).replay("nobody")
    (name,) = answered(project, 3)
    change(project, name, views={"claim": ["yesterday", 1, "x"]})
    with pytest.raises(CorruptedError, match="invalid row reference"):
        replayer(project).replay(name)
    change(project, name, views=None)
    with pytest.raises(CorruptedError, match="does not name the rows"):
        replayer(project).replay(name)


def test_replay_refuses_changed_release(project: Released):
    (name,) = answered(project, 3)
    path = project.folder / "models/releases" / f"{project.releases.live_id('denials')}.json"
    path.write_bytes(path.read_bytes().replace(b'"0.40"', b'"0.41"'))
    with pytest.raises(CorruptedError):
        replayer(project).replay(name)

"""A replayed prediction equals the recorded one bit for bit; otherwise the first difference is reported."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.released_model import Released, claim
from wellspring.errors import CorruptedError, NotFound
from wellspring.serving.replay import PredictionReplayer
from wellspring.trust.identity.port import Principal


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
        release_store=project.releases,
        load_scorer=project.load,
        views_by_digest=project.kept_views,
    )


def answered(project: Released, *numbers: int) -> list[str]:
    async def requests() -> list[str]:
        service, _ = project.service()
        # Concurrent, in many threads: a score must not depend on other requests.
        requests = [
            service.predict("denials", claim(n), include_reasons=n % 2 == 0, principal=Principal("service:portal"))
            for n in numbers
        ]
        matches = await asyncio.gather(*requests)
        await service.close()
        return [item.prediction.id for item in matches]

    return asyncio.run(requests())


def change(project: Released, prediction: str, **facts: Any) -> None:
    for place, entry in enumerate(project.step.entries):
        if entry.subject == f"prediction:{prediction}":
            project.step.entries[place] = entry.model_copy(update={"facts": {**entry.facts, **facts}})


def test_replay_reproduces_every_prediction_bit_for_bit(project: Released):
    ids = answered(project, *range(40), *range(40), *range(40))
    matches = replayer(project).replay_all(ids)
    assert [item.first_difference for item in matches] == [""] * 120
    assert all(item.equal for item in matches)
    assert [item.prediction for item in matches] == ids
    item_value = replayer(project).replay(f"prediction:{ids[7]}")
    assert item_value == matches[7]
    (entry,) = [item for item in project.step.entries if item.subject == f"prediction:{ids[7]}"]
    assert (item_value.score, item_value.vector_digest) == (entry.facts["score"], entry.inputs[3].digest)


def test_replay_works_after_new_release_and_edition(project: Released):
    (first,) = answered(project, 3)
    project.released(2)
    (second,) = answered(project, 3)
    item, two = replayer(project).replay_all([first, second])
    assert item.equal
    assert two.equal
    assert item.release != two.release
    assert item.score != two.score


def test_replay_detects_changed_value_in_lake(project: Released):
    (name,) = answered(project, 3)
    table = project.lake.tables["claim_features"]
    amounts = table["charge_amount"].to_pylist()
    amounts[3] += 1e-12
    place = table.column_names.index("charge_amount")
    project.lake.tables["claim_features"] = table.set_column(place, "charge_amount", pa.array(amounts))
    matches = replayer(project).replay(name)
    assert not matches.equal
    assert matches.first_difference.startswith("the vector")


def test_replay_names_missing_row(project: Released):
    (name,) = answered(project, 3)
    project.lake.tables["claim_features"] = project.lake.tables["claim_features"].slice(10)
    matches = replayer(project).replay(name)
    assert matches.first_difference == "the row of claim: it is missing from its edition"


def test_replay_names_changed_score_or_decision(project: Released):
    item, two = answered(project, 3, 4)
    change(project, item, score=(0.5).hex())
    change(project, two, decision="maybe")
    first, second = replayer(project).replay_all([item, two])
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

"""An answer given again is equal to the last bit; where it is not, the first difference is named."""

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
def house(tmp_path: Path) -> Released:
    made = Released(tmp_path)
    made.released()
    return made


def replayer(house: Released) -> PredictionReplayer:
    lake: Any = house.lake
    return PredictionReplayer(
        index=house.books, lake=lake, release_store=house.releases, load_scorer=house.load, views_by_digest=house.kept_views
    )  # fmt: skip


def answered(house: Released, *numbers: int) -> list[str]:
    async def asked() -> list[str]:
        desk, _ = house.desk()
        # At once, on many threads: a score must not depend on its neighbours.
        asked = [
            desk.predict("denials", claim(n), include_reasons=n % 2 == 0, principal=Principal("service:portal"))
            for n in numbers
        ]
        found = await asyncio.gather(*asked)
        await desk.close()
        return [item.prediction.id for item in found]

    return asyncio.run(asked())


def change(house: Released, prediction: str, **facts: Any) -> None:
    for place, entry in enumerate(house.step.entries):
        if entry.subject == f"prediction:{prediction}":
            house.step.entries[place] = entry.model_copy(update={"facts": {**entry.facts, **facts}})


def test_every_answer_is_given_again_to_the_last_bit(house: Released):
    ids = answered(house, *range(40), *range(40), *range(40))
    found = replayer(house).replay_all(ids)
    assert [item.first_difference for item in found] == [""] * 120
    assert all(item.equal for item in found)
    assert [item.prediction for item in found] == ids
    one = replayer(house).replay(f"prediction:{ids[7]}")
    assert one == found[7]
    (entry,) = [item for item in house.step.entries if item.subject == f"prediction:{ids[7]}"]
    assert (one.score, one.vector_digest) == (entry.facts["score"], entry.inputs[3].digest)


def test_an_answer_survives_a_new_release_and_a_new_edition(house: Released):
    (first,) = answered(house, 3)
    house.released(2)
    (second,) = answered(house, 3)
    one, two = replayer(house).replay_all([first, second])
    assert one.equal
    assert two.equal
    assert one.release != two.release
    assert one.score != two.score


def test_a_value_that_was_changed_in_the_lake_is_noticed(house: Released):
    (name,) = answered(house, 3)
    table = house.lake.tables["claim_features"]
    amounts = table["charge_amount"].to_pylist()
    amounts[3] += 1e-12
    place = table.column_names.index("charge_amount")
    house.lake.tables["claim_features"] = table.set_column(place, "charge_amount", pa.array(amounts))
    found = replayer(house).replay(name)
    assert not found.equal
    assert found.first_difference.startswith("the vector")


def test_a_row_that_is_gone_is_named(house: Released):
    (name,) = answered(house, 3)
    house.lake.tables["claim_features"] = house.lake.tables["claim_features"].slice(10)
    found = replayer(house).replay(name)
    assert found.first_difference == "the row of claim: its edition does not hold it"


def test_another_score_or_decision_than_the_one_told_is_named(house: Released):
    one, two = answered(house, 3, 4)
    change(house, one, score=(0.5).hex())
    change(house, two, decision="maybe")
    first, second = replayer(house).replay_all([one, two])
    assert first.first_difference.startswith("the score: it was 0.5, and is ")
    assert second.first_difference.startswith("the decision: it was 'maybe'")
    assert not first.equal
    assert not second.equal


def test_an_unknown_answer_and_an_entry_that_is_none_are_told(house: Released):
    with pytest.raises(NotFound, match="no answer"):
        replayer(house).replay("nobody")
    (name,) = answered(house, 3)
    change(house, name, views={"claim": ["yesterday", 1, "x"]})
    with pytest.raises(CorruptedError, match="cannot be looked for"):
        replayer(house).replay(name)
    change(house, name, views=None)
    with pytest.raises(CorruptedError, match="which rows"):
        replayer(house).replay(name)


def test_a_release_that_was_changed_since_replays_nothing(house: Released):
    (name,) = answered(house, 3)
    path = house.folder / "models/releases" / f"{house.releases.live_id('denials')}.json"
    path.write_bytes(path.read_bytes().replace(b'"0.40"', b'"0.41"'))
    with pytest.raises(CorruptedError):
        replayer(house).replay(name)

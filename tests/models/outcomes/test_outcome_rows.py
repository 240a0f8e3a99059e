"""Labels join their predictions by key and by the time at which they became known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tests.builders.synthetic_world import model, token
from wellspring.models.outcomes.outcome_rows import OutcomeInputs, find_new_outcomes, outcome_schema

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MODEL = model(keys=("claim_id",))


def predictions(*numbers: int, name: str = MODEL.name) -> pa.Table:
    return pa.table(
        {
            "prediction_id": pa.array([f"p{number}" for number in numbers], pa.string()),
            "model": pa.array([name] * len(numbers), pa.string()),
            "predicted_at": pa.array([NOW] * len(numbers), pa.timestamp("us", tz="UTC")),
            "keys": pa.array([f'{{"claim_id":"{token("claim", number)}"}}' for number in numbers], pa.string()),
        }
    )


def labels(*rows: tuple[int, Any, float]) -> pa.Table:
    """Each row: the number of a claim, its label, and the days after the prediction at which it became known."""
    return pa.table(
        {
            "claim_id": [token("claim", number) for number, _, _ in rows],
            MODEL.label.column: [value for _, value, _ in rows],
            "known_since": pa.array([NOW + timedelta(days=days) for _, _, days in rows], pa.timestamp("us", tz="UTC")),
            "sequence": pa.array(range(len(rows)), pa.int64()),
        }
    )


def find(predicted: pa.Table, labelled: pa.Table, recorded: pa.Table | None = None) -> dict[str, str]:
    outcomes = find_new_outcomes(MODEL, OutcomeInputs(predicted, labelled, recorded, "e1"))
    assert outcomes.schema == outcome_schema()
    return dict(zip(outcomes["prediction_id"].to_pylist(), outcomes["label"].to_pylist(), strict=True))


def test_a_label_that_became_known_later_is_the_outcome():
    assert find(predictions(1, 2, 3), labels((1, 1, 3), (2, 0, 5))) == {"p1": "1", "p2": "0"}


def test_a_label_that_was_known_before_the_prediction_is_no_outcome():
    assert find(predictions(1, 2), labels((1, 1, -1), (2, 1, 0))) == {}


def test_a_null_label_is_no_outcome():
    assert find(predictions(1), labels((1, None, 3))) == {}


def test_the_newest_label_counts_and_only_what_is_new_is_found():
    recorded = find_new_outcomes(MODEL, OutcomeInputs(predictions(1, 2), labels((1, 1, 3)), None, "e1"))
    corrected = labels((1, 1, 3), (2, 0, 4), (1, 0, 9))
    assert find(predictions(1, 2), labels((1, 1, 3)), recorded) == {}
    assert find(predictions(1, 2), corrected, recorded) == {"p1": "0", "p2": "0"}


def test_predictions_of_another_model_and_two_predictions_of_one_key():
    both = pa.concat_tables([predictions(1, name="fraud"), predictions(1, 1)])
    both = both.set_column(0, "prediction_id", pa.array(["a", "b", "c"]))
    assert find(both, labels((1, 1, 3))) == {"b": "1", "c": "1"}


def test_without_predictions_there_is_no_outcome():
    assert find(predictions(), labels((1, 1, 3))) == {}

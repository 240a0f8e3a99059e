"""Records of models: frozen, with the subjects that the ledger uses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from wellspring.records.decisions import ThresholdRule
from wellspring.records.models import Estimate, EvaluationReport, Prediction, Release

INSTANT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_release_and_prediction_have_subjects():
    release = Release(
        id="ab12", digest="0" * 64, model="denials", candidate="c", artifact="1" * 64, views="2" * 64,
        transform="7" * 64, preprocessing="3" * 64, edition="e", policy="4" * 64,
        task="binary", decision_rule=ThresholdRule(labels=("pays", "denies"), threshold="0.25"),
        tenant="acme", known_since=INSTANT,
    )  # fmt: skip
    assert release.subject == "release:ab12"
    answer = Prediction(
        id="p", model="denials", request_digest="6" * 64, release="ab12", role="stable", edition="e", score=0.5,
        threshold="0.25",        decision="denies", reasons=(), freshness="fresh", as_of=INSTANT, age_seconds=0,
        vector_digest="5" * 64, answered_at=INSTANT,
    )  # fmt: skip
    assert answer.subject == "prediction:p"
    assert answer.signature is None


def test_records_are_frozen_and_refuse_unknown_fields():
    figure = Estimate(value=0.9, low=0.8, high=0.95, rows=100)
    with pytest.raises(ValidationError):
        figure.value = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Estimate.model_validate({"value": 0.9, "low": 0.8, "high": 0.95, "rows": 100, "worth": 1})


def test_an_older_candidate_keeps_its_digest():
    result = {
        "metrics": {}, "baselines": {}, "subgroups": [], "leaks": [], "train_rows": 5, "test_rows": 2,
        "since": "2026-01-01", "until": "2026-03-01", "reason_microseconds": 9.0, "size": {"trees": 2},
        "task": "binary", "main_metric": "auc", "class_rows": {},
    }  # fmt: skip
    assert EvaluationReport.model_validate(result).model_dump(mode="json") == result
    now = {**result, "trained_until": "2026-01-01T00:00:00.000000Z"}
    assert EvaluationReport.model_validate(now).model_dump(mode="json") == now


def test_a_field_that_does_not_apply_to_the_task_is_left_out():
    fields = {
        "id": "p", "model": "m", "request_digest": "6" * 64, "release": "ab12", "role": "stable", "edition": "e",
        "score": 0.5, "decision": "", "reasons": (), "freshness": "fresh", "as_of": INSTANT, "age_seconds": 0,
        "vector_digest": "5" * 64, "answered_at": INSTANT,
    }  # fmt: skip
    assert {"threshold", "interval", "probabilities"} & Prediction(**fields).model_dump(mode="json").keys() == set()
    number = Prediction(**fields, interval=(0.4, 0.6)).model_dump(mode="json")
    assert (number["interval"], "probabilities" in number) == ([0.4, 0.6], False)


def test_the_schema_of_a_prediction_has_all_fields_and_requires_none_of_one_task():
    schema = Prediction.model_json_schema(mode="serialization")
    assert set(schema["properties"]) == set(Prediction.model_fields)
    assert not {"threshold", "interval", "probabilities"} & set(schema["required"])

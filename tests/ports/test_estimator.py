"""One suite for every registered estimator: fit, predict, explain, write and read its file, for each objective."""

import re

import numpy as np
import pytest

from tests.builders.estimator_samples import EstimatorSample, estimator_samples
from wellspring.errors import CorruptedError
from wellspring.models.estimators.port import MODEL_FILE_PATTERN, Estimator
from wellspring.models.estimators.registry import find_estimator, list_estimators

SAMPLES = [sample for name in list_estimators() for sample in estimator_samples(find_estimator(name))]


@pytest.fixture(params=SAMPLES, ids=lambda sample: f"{sample.estimator.name}-{sample.objective.kind}")
def sample(request: pytest.FixtureRequest) -> EstimatorSample:
    return request.param


def test_the_registered_class_has_the_whole_port(sample: EstimatorSample):
    estimator = sample.estimator
    assert isinstance(estimator, Estimator)
    assert re.fullmatch(MODEL_FILE_PATTERN, estimator.file_name)
    assert len([name for name in list_estimators() if find_estimator(name).file_name == estimator.file_name]) == 1
    assert estimator.attribution


def test_tuning_gives_settings_that_fit_can_repeat(sample: EstimatorSample):
    split = len(sample.rows.labels) * 4 // 5
    train, validation = sample.rows.take_before(split), sample.rows.take_from(split)
    done: list[int] = []
    tuned = sample.estimator.tune(
        train, validation, sample.columns, sample.objective,
        hyperparameters=None, progress=lambda count, _: done.append(count),
    )  # fmt: skip
    again = sample.estimator.tune(
        train, validation, sample.columns, sample.objective,
        hyperparameters=tuned.settings.hyperparameters, progress=lambda *_: None,
    )  # fmt: skip
    assert again.settings == tuned.settings
    assert tuned.settings.seed == sample.estimator.seed
    assert all(np.isfinite(values).all() for values in tuned.curves.values())
    assert tuned.model.predict_rows(validation.features).shape == (len(validation.labels), sample.columns_out)


def test_the_same_rows_and_settings_give_the_same_bytes(sample: EstimatorSample):
    assert sample.fit().dump() == sample.fit().dump()


def test_a_model_that_was_written_and_read_gives_the_same_bits(sample: EstimatorSample):
    model = sample.fit()
    read = type(sample.estimator).load_model(model.dump())
    many = model.predict_rows(sample.rows.features[:200])
    assert many.shape == (200, sample.columns_out)
    assert read.predict_rows(sample.rows.features[:200]).tolist() == many.tolist()
    for row, raw in zip(sample.rows.features[:50].tolist(), many.tolist(), strict=False):
        assert list(read.predict_row(row)) == raw
        assert all(isinstance(value, float) for value in read.predict_row(row))
    assert read.dump() == model.dump()


def test_it_learns(sample: EstimatorSample):
    raw = sample.fit().predict_rows(sample.rows.features)
    labels = sample.rows.labels
    match sample.objective.kind:
        case "binary":
            assert ((raw[:, 0] > 0) == labels).mean() > max(labels.mean(), 1 - labels.mean()) + 0.05
        case "multiclass":
            assert (raw.argmax(axis=1) == labels).mean() > np.bincount(labels).max() / len(labels) + 0.05
        case "regression":
            assert np.abs(raw[:, 0] - labels).mean() < np.abs(labels - np.median(labels)).mean() * 0.8


def test_contributions_belong_to_one_output_or_there_are_none(sample: EstimatorSample):
    model = sample.fit()
    rows = sample.rows.features[:20].tolist()
    for output in range(sample.columns_out):
        contributions = [model.explain_row(row, output) for row in rows]
        if contributions[0] is None:
            assert contributions == [None] * len(rows)
            assert "none" in sample.estimator.attribution.lower()
            continue
        # What is left of the raw output is a constant.
        rest = [
            model.predict_row(row)[output] - sum(values or ()) for row, values in zip(rows, contributions, strict=True)
        ]
        assert max(rest) - min(rest) < 1e-6
        assert all(len(values or ()) == len(sample.columns.names) for values in contributions)


def test_sizes_are_counts_and_importance_is_per_feature(sample: EstimatorSample):
    model = sample.fit()
    assert all(value >= 0 for value in model.size().values())
    importance = model.importance()
    assert importance is None or len(importance) == len(sample.columns.names)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95.", b"PK\x03\x04", b"tree\n\xff", b"{}"])
def test_a_file_that_is_not_a_model_is_refused(sample: EstimatorSample, content: bytes):
    with pytest.raises(CorruptedError):
        type(sample.estimator).load_model(content)


def test_a_row_of_missing_values_has_a_prediction(sample: EstimatorSample):
    raw = sample.fit().predict_row([float("nan")] * len(sample.columns.names))
    assert np.isfinite(raw).all()

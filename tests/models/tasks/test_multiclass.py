import numpy as np
import pyarrow as pa
import pytest

from tests.builders.synthetic_world import token
from wellspring.models.tasks.multiclass import MAX_CLASSES, Multiclass, MulticlassDecoder, TemperatureCalibration
from wellspring.records.decisions import MostLikelyRule

TASK = Multiclass()


def text(values: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def decoder(**rule) -> MulticlassDecoder:
    calibration = TemperatureCalibration(temperature=(1.0).hex())
    return MulticlassDecoder(calibration=calibration, decision_rule=MostLikelyRule(labels=("a", "b", "c"), **rule))


def test_classes_come_from_the_used_rows_or_the_model_file():
    assert TASK.encode_labels(text(["b", "a", "z"]), np.array([0, 1])).classes == ("a", "b")
    declared = Multiclass(labels=("z", "a", "b"))
    assert declared.encode_labels(text(["b", "a", "z"]), np.array([0])).values.tolist() == [2, 1, 0]


def test_labels_that_cannot_be_classes_are_refused():
    many = [f"class {number}" for number in range(MAX_CLASSES + 1)]
    for task, values, message in (
        (TASK, many, "has 2,001 classes; at most 2,000"),
        (TASK, [token("claim", 1), "b"], "contains tokens"),
        (Multiclass(labels=("a", "b")), ["a", "c"], "has 1 classes that labels"),
    ):
        with pytest.raises(ValueError, match=message):
            task.encode_labels(text(values), np.arange(len(values)))


def test_a_class_needs_its_threshold_and_otherwise_is_decided():
    strict = decoder(thresholds={"a": "0.9"}, otherwise="c")
    raw = np.log(np.array([[0.6, 0.3, 0.1], [0.95, 0.03, 0.02]]))
    assert [strict.decode_row(row).decision for row in raw.tolist()] == ["b", "a"]
    assert strict.decide_rows(strict.calibrate_rows(raw)).tolist() == [1, 0]
    strictest = decoder(thresholds={"a": "0.99", "b": "0.99", "c": "0.99"}, otherwise="c")
    output = strictest.decode_row(raw[0].tolist())
    assert (output.decision, output.explained_output) == ("c", 2)
    assert output.score == pytest.approx(0.1)
    assert strictest.decide_rows(strictest.calibrate_rows(raw)).tolist() == [2, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ("a",)}, {"labels": ("a", "a")}, {"thresholds": {"a": "0.5"}}, {"otherwise": "a"},
        {"thresholds": {"a": "0.04"}, "otherwise": "a"},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_verified_is_refused(fields: dict):
    with pytest.raises(ValueError, match="Multiclass"):
        Multiclass(**fields)


def test_a_champion_with_other_classes_is_compared_by_name():
    labels, scores = np.array([0, 1] * 200), np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]] * 200)
    turned = decoder().model_copy(update={"decision_rule": MostLikelyRule(labels=("b", "a", "x"))})
    comparison = TASK.compare_scores(scores, decoder(), scores, turned, labels, ("a", "b", "c"), seed=1)
    assert comparison.difference.value == 1.0

"""An ONNX file that was trained elsewhere: checked against the features and the task before it is used."""

import hashlib
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from tests.builders.onnx_graphs import linear_graph
from wellspring.errors import ProjectError, Refused
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.onnx.session import OnnxModel
from wellspring.models.estimators.onnx.trained_file import SOURCE_DIGEST_KEY
from wellspring.models.estimators.port import FeatureColumns, FitSettings, LabeledRows, Objective, find_trained_file

COLUMNS = FeatureColumns(("view__amount", "view__rate"), ())
UNTIL = datetime(2026, 5, 1, tzinfo=UTC)
ROWS = np.array([[1.0, 0.5], [0.0, 2.0], [math.nan, 1.0]])
BINARY, MULTICLASS, REGRESSION = Objective("binary", 2), Objective("multiclass", 3), Objective("regression", 0)


def use(folder: Path, graph: onnx.ModelProto | bytes, objective: Objective = BINARY, **settings: Any) -> OnnxModel:
    (folder / "late.onnx").write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    estimator = Onnx(file="late.onnx", trained_until=UNTIL, **settings).open_file(folder)
    rows = LabeledRows(ROWS, np.array([True, False, True]))
    return estimator.fit(rows, COLUMNS, objective, FitSettings({}, 0, 7))


def test_log_odds_and_probabilities_give_the_same_raw_output(tmp_path: Path):
    logits = use(tmp_path, linear_graph([[1.0], [2.0]]), scale="logits")
    odds = use(tmp_path, linear_graph([[1.0], [2.0]], activation="Sigmoid"))
    assert logits.predict_rows(ROWS)[:, 0].tolist() == [2.0, 4.0, 2.0]
    assert odds.predict_rows(ROWS)[:, 0] == pytest.approx([2.0, 4.0, 2.0], rel=1e-4)


def test_two_logits_are_their_difference_and_three_are_classes(tmp_path: Path):
    pair = use(tmp_path, linear_graph([[1.0, 3.0], [0.0, 0.0]]), scale="logits")
    assert pair.predict_row([1.0, 0.0]) == (2.0,)
    classes = use(tmp_path, linear_graph([[1.0, 2.0, 3.0]] * 2, activation="Softmax"), MULTICLASS)
    assert np.diff(classes.predict_row([1.0, 0.0])) == pytest.approx([1.0, 1.0], rel=1e-5)
    assert use(tmp_path, linear_graph([[2.0], [0.0]]), REGRESSION).predict_row([4.0, 1.0]) == (8.0,)


def test_the_model_records_the_digest_of_the_file_and_gives_the_same_bytes(tmp_path: Path):
    content = linear_graph([[1.0], [2.0]], activation="Sigmoid").SerializeToString()
    model = use(tmp_path, content)
    stored = {entry.key: entry.value for entry in onnx.ModelProto.FromString(model.dump()).metadata_props}
    assert stored[SOURCE_DIGEST_KEY] == hashlib.sha256(content).hexdigest()
    assert model.dump() == use(tmp_path, content).dump()
    assert Onnx.load_model(model.dump()).predict_rows(ROWS).tolist() == model.predict_rows(ROWS).tolist()


@pytest.mark.parametrize(
    ("graph", "settings", "message"),
    [
        (linear_graph([[1.0]] * 3, activation="Sigmoid"), {}, "expects 3 features, and the model file names 2"),
        (linear_graph([[1.0]] * 2), {}, "not probabilities"),
        (linear_graph([[1.0, 1.0]] * 2, activation="Sigmoid"), {}, "not probabilities"),
        (linear_graph([[1.0, 1.0, 1.0]] * 2), {"scale": "logits"}, "has 3 columns; 1 or 2 are expected"),
        (linear_graph([[1.0]] * 2, fill_missing=False), {"scale": "logits"}, "not a number, for a row with missing"),
        (linear_graph([[1.0]] * 2, outputs=("a", "b")), {"scale": "logits"}, "has the outputs a, b"),
        (linear_graph([[1.0]] * 2), {"scale": "logits", "output": "other"}, "has the outputs score"),
        (b"\x80\x04\x95pickle", {}, "it is not an ONNX model"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, graph: onnx.ModelProto | bytes, settings: dict[str, Any], message: str
):
    with pytest.raises(Refused, match=message):
        use(tmp_path, graph, **settings)


def test_one_of_two_outputs_can_be_named(tmp_path: Path):
    graph = linear_graph([[1.0]] * 2, outputs=("a", "b"))
    assert use(tmp_path, graph, scale="logits", output="b").predict_row([1.0, 1.0]) == (2.0,)


def test_a_file_with_weights_elsewhere_is_refused(tmp_path: Path):
    graph = linear_graph([[1.0]] * 2, activation="Sigmoid")
    graph.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(Refused, match="weights are in another file"):
        use(tmp_path, graph)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.symlink_to("/etc/hostname")])
def test_a_missing_file_or_a_link_is_an_error(tmp_path: Path, make: Any):
    make(tmp_path / "late.onnx")
    with pytest.raises(ProjectError, match=r"late\.onnx is missing, or a link"):
        Onnx(file="late.onnx", trained_until=UNTIL).open_file(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either pipeline"),
        ({"file": "late.onnx", "trained_until": UNTIL, "pipeline": LogisticRegression()}, "either pipeline"),
        ({"file": "late.onnx"}, "give trained_until"),
        ({"pipeline": LogisticRegression(), "trained_until": UNTIL}, "give trained_until"),
        ({"file": "../late.onnx", "trained_until": UNTIL}, "file"),
        ({"file": "late.onnx", "trained_until": datetime(2026, 5, 1)}, "UTC"),
    ],
)
def test_the_definition_names_a_pipeline_or_a_file_with_its_end(fields: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Onnx(**fields)


def test_only_a_file_is_trained_elsewhere():
    trained_file = find_trained_file(Onnx(file="late.onnx", trained_until=UNTIL))
    assert trained_file == ("late.onnx", UNTIL)
    assert find_trained_file(Onnx(pipeline=LogisticRegression())) is None

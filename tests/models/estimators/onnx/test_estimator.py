"""ONNX models: a pipeline that is exported equals its graph, and a graph that may not run is never run."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from wellspring.errors import CorruptedError, Refused
from wellspring.models.estimators.onnx import export
from wellspring.models.estimators.onnx import graph as graph_module
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.onnx.session import OnnxModel, OutputMeaning, write_meaning
from wellspring.models.estimators.port import FeatureColumns, FitSettings, LabeledRows, Objective

COLUMNS = FeatureColumns(("view__amount", "view__kind"), (1,))


def labeled_rows(rows: int = 400) -> LabeledRows:
    rng = np.random.default_rng(4)
    features = np.column_stack([rng.normal(size=rows), rng.integers(0, 4, rows)]).astype(float)
    labels = features[:, 0] + (features[:, 1] == 3) > 0.3
    features[rng.random(rows) < 0.05] = math.nan
    return LabeledRows(features, labels)


def fit(*steps: Any) -> OnnxModel:
    estimator = Onnx(pipeline=make_pipeline(*steps))
    return estimator.fit(labeled_rows(), COLUMNS, Objective("binary", 2), FitSettings({}, 0, 7))


def graph(**changes: Any) -> onnx.ModelProto:
    """Build the graph of `log odds = features @ weights`, with the meaning of its output."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, (2, 1), [1.0, 2.0])
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["features", "weights"], ["raw"])],
            "linear",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])],
            [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, 1])],
            [weights],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    meaning = OutputMeaning("binary", 2, "raw", "logits")._replace(**changes)
    return onnx.ModelProto.FromString(write_meaning(model, meaning))


def test_a_graph_of_standard_operators_is_run():
    model = OnnxModel(graph().SerializeToString())
    assert model.predict_row([3.0, 0.5]) == (4.0,)
    assert model.predict_rows(np.empty((0, 2))).shape == (0, 1)


@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(20, random_state=1)])
def test_an_exported_pipeline_learns_and_has_the_same_bytes_again(last: Any):
    model = fit(SimpleImputer(), last)
    rows = labeled_rows()
    assert ((model.predict_rows(rows.features)[:, 0] > 0) == rows.labels).mean() > 0.85
    assert model.dump() == fit(SimpleImputer(), last).dump()


@pytest.mark.parametrize("last", [LinearSVC(), KNeighborsClassifier()])
def test_a_pipeline_that_cannot_be_converted_or_run_is_refused(last: Any):
    with pytest.raises(Refused, match=r"cannot convert|loop or a branch|differs"):
        fit(SimpleImputer(), StandardScaler(), last)


def test_a_small_difference_on_one_row_is_refused(monkeypatch: pytest.MonkeyPatch):
    original = OnnxModel.predict_native

    def shifted(model: OnnxModel, rows: Any) -> Any:
        native = original(model, rows)
        native[7] += 1e-3
        return native

    monkeypatch.setattr(export.OnnxModel, "predict_native", shifted)
    with pytest.raises(Refused, match="differs from the pipeline"):
        fit(SimpleImputer(), StandardScaler(), LogisticRegression())


def add_foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)


def move_weights_to_a_file(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def add_loop(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["raw"], ["other"], then_branch=branch, else_branch=branch))


def add_noise(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormalLike", ["raw"], ["noise"]))


def add_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="own", domain="ai.onnx")


def add_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [None, 1]))


def change_input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def add_external_attribute(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, (1,), [1.0]))
    node.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_foreign_operator, "operators of 'com.example'"),
        (move_weights_to_a_file, "weights are in another file"),
        (add_external_attribute, "weights are in another file"),
        (add_loop, "a loop or a branch"),
        (add_noise, "not deterministic: it uses RandomNormalLike"),
        (add_function, "functions of its own"),
        (add_input, "2 inputs"),
        (change_input_type, "not of float or double"),
        (lambda model: model.metadata_props.pop(), "what its output means"),
    ],
)
def test_a_graph_that_may_not_run_is_not_loaded(change: Callable[[onnx.ModelProto], object], message: str):
    model = graph()
    change(model)
    with pytest.raises(CorruptedError, match=message):
        Onnx.load_model(model.SerializeToString())


def test_a_graph_that_onnxruntime_rejects_is_corrupted():
    model = graph()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(CorruptedError, match="onnxruntime cannot run"):
        Onnx.load_model(model.SerializeToString())
    with pytest.raises(CorruptedError, match="output that it names"):
        Onnx.load_model(graph(output="other").SerializeToString())


def test_an_output_of_the_wrong_width_is_corrupted():
    with pytest.raises(CorruptedError, match="has 1 columns; 3 are expected"):
        Onnx.load_model(graph(kind="multiclass", classes=3).SerializeToString()).predict_row([1.0, 2.0])


def test_a_row_that_the_graph_cannot_compute_is_corrupted():
    with pytest.raises(CorruptedError, match="cannot compute a row"):
        Onnx.load_model(graph().SerializeToString()).predict_row([1.0, 2.0, 3.0])


def test_a_large_file_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_module, "MAX_BYTES", 10)
    with pytest.raises(CorruptedError, match="at most 10 are read"):
        Onnx.load_model(graph().SerializeToString())


def test_serving_an_onnx_model_imports_neither_scikit_learn_nor_the_converter():
    code = """
import sys
from wellspring.models.estimators.onnx.estimator import Onnx
model = Onnx.load_model(sys.stdin.buffer.read())
model.predict_row([1.0, 2.0])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sklearn", "skl2onnx", "skops", "pandas"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=graph().SerializeToString(), capture_output=True, timeout=60, check=True
    )
    assert done.stdout.strip() == b"[]"


def test_onnxruntime_reports_nothing_to_its_vendor(tmp_path: Path):
    load = "from wellspring.models.estimators.onnx.estimator import Onnx; Onnx.load_model(sys.stdin.buffer.read())"
    # Without the setting it writes an identifier of the machine and a queue of events below the home folder.
    source = str(Path(export.__file__).parents[4])
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": source}
    subprocess.run(
        [sys.executable, "-c", f"import sys; {load}"],
        input=graph().SerializeToString(),
        env=environment,
        timeout=60,
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []

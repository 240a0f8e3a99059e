"""Import an ONNX file that was trained elsewhere: check it against the features and the task, and record what it is."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError, Refused
from wellspring.models.estimators.onnx.graph import parse_graph
from wellspring.models.estimators.onnx.session import OnnxModel, OutputMeaning, OutputScale, write_meaning
from wellspring.models.estimators.port import FeatureColumns, Objective

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Array = np.ndarray[Any, Any]

SOURCE_DIGEST_KEY = "wellspring.source_sha256"
"""The metadata of `model.onnx` that holds the SHA-256 of the imported file."""
_CHECKED_ROWS = 200
_EXPORT_FIX = "export the model again: one matrix of features in, one matrix of numbers out, standard operators only"


def import_graph(
    content: bytes,
    name: str,
    columns: FeatureColumns,
    objective: Objective,
    rows: Array,
    *,
    output: str | None,
    scale: OutputScale,
) -> OnnxModel:
    """Check a file and add the meaning of its output. name: of the file. rows: on which its output is checked.

    Raises Refused if it may not run, or does not fit the features or the task.
    """
    graph = parse_graph(content)
    if isinstance(graph, str):
        raise Refused(f"{name} cannot be used: {graph}", fix=_EXPORT_FIX)
    _check_input_width(graph, name, columns)
    meaning = OutputMeaning(
        objective.kind,
        objective.classes,
        _choose_output(graph, name, output),
        "value" if objective.kind == "regression" else scale,
    )
    graph.metadata_props.add(key=SOURCE_DIGEST_KEY, value=hashlib.sha256(content).hexdigest())
    try:
        model = OnnxModel(write_meaning(graph, meaning))
        _check_output(model, meaning, name, rows[:_CHECKED_ROWS])
    except CorruptedError as exc:
        raise Refused(f"{name} cannot be used: {exc.what}", fix=_EXPORT_FIX) from None
    return model


def _check_input_width(graph: onnx.ModelProto, name: str, columns: FeatureColumns) -> None:
    constants = {tensor.name for tensor in graph.graph.initializer}
    (matrix,) = [value for value in graph.graph.input if value.name not in constants]
    width, features = matrix.type.tensor_type.shape.dim[1].dim_value, len(columns.names)
    if width not in (0, features):  # 0: of any width
        raise Refused(
            f"{name} expects {width} features, and the model file names {features}: {', '.join(columns.names)[:200]}",
            fix="name the features of the file in the order of its columns",
        )


def _choose_output(graph: onnx.ModelProto, name: str, output: str | None) -> str:
    import onnx

    numbers = [
        value.name
        for value in graph.graph.output
        if value.type.tensor_type.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    ]
    if output is None and len(numbers) == 1:
        return numbers[0]
    if output is None or output not in numbers:
        raise Refused(
            f"{name} has the outputs {', '.join(numbers)[:200] or '(none of numbers)'}",
            fix="name one of them with output=...; a classifier is exported without ZipMap, so that its "
            "probabilities are a matrix",
        )
    return output


def _check_output(model: OnnxModel, meaning: OutputMeaning, name: str, rows: Array) -> None:
    """Raise Refused unless the output is finite, also for missing values, and probabilities if it should be."""
    import numpy as np

    native = model.predict_native(np.vstack([rows, np.full((1, rows.shape[1]), np.nan)]))
    if not np.isfinite(native).all():
        raise Refused(
            f"{name} gives an output that is not a number, for a row with missing values",
            fix="impute missing values in the graph: features can be missing when the model is served",
        )
    sums = native.sum(axis=1) if native.shape[1] > 1 else np.ones(len(native))
    if meaning.scale == "probabilities" and (
        native.min() < 0 or native.max() > 1 + 1e-6 or np.abs(sums - 1).max() > 1e-3
    ):
        raise Refused(f"the output of {name} is not probabilities", fix='set scale="logits", or export probabilities')

"""Export a fitted scikit-learn pipeline as an ONNX graph, and compare the two on the rows that it learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wellspring.errors import Refused, package_missing
from wellspring.models.estimators.onnx.graph import parse_graph
from wellspring.models.estimators.onnx.session import OnnxModel, OutputMeaning, OutputScale, write_meaning
from wellspring.models.estimators.sklearn.linear import find_last_step
from wellspring.models.estimators.sklearn.pipeline import FittedPipeline
from wellspring.plugins import guard_plugin_code

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TOLERANCE = 1e-5
"""The largest difference between graph and pipeline: this, times one more than the pipeline's output."""
INPUT_NAME = "features"
_FIX = "use the estimator SklearnPipeline, or steps that skl2onnx converts exactly; leave out scaling before trees"


def export_pipeline(fitted: FittedPipeline, rows: Array) -> OnnxModel:
    """Export a pipeline. rows: those that it was fitted on.

    The graph computes in float32: onnxruntime has no imputation and no trees in double precision. Raises Refused if
    skl2onnx cannot convert a step, or if an output differs by more than TOLERANCE.
    """
    content = _convert_pipeline(fitted, rows.shape[1])
    model = OnnxModel(content)
    difference = _measure_difference(fitted, model, rows)
    if not difference <= TOLERANCE:
        raise Refused(
            f"the exported graph differs from the pipeline by {difference:.1e} on the train rows; "
            f"at most {TOLERANCE:.0e} is allowed",
            fix=_FIX,
        )
    return model


def _convert_pipeline(fitted: FittedPipeline, features: int) -> bytes:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError:
        raise package_missing("skl2onnx", extra="onnx") from None
    if fitted.kind == "multiclass" and len(fitted.pipeline.classes_) != fitted.classes:
        raise Refused("the train rows lack a class, so the graph would not know it", fix="ingest more history")
    input_types: Any = [(INPUT_NAME, FloatTensorType([None, features]))]
    # Converters raise errors of many types for steps and settings that they do not know.
    with guard_plugin_code("skl2onnx cannot convert the pipeline", fix=_FIX, error_type=Refused):
        graph: Any = skl2onnx.to_onnx(fitted.pipeline, initial_types=input_types, options=_conversion_options(fitted))
    meaning = OutputMeaning(fitted.kind, fitted.classes, graph.graph.output[-1].name, _output_scale(fitted))
    content = write_meaning(graph, meaning)
    if isinstance(problem := parse_graph(content), str):
        raise Refused(f"the exported graph cannot be used: {problem}", fix=_FIX)
    return content


def _conversion_options(fitted: FittedPipeline) -> dict[int, dict[str, bool]]:
    if fitted.kind == "regression":
        return {}
    last = find_last_step(fitted.pipeline)
    options = {"zipmap": False} if hasattr(last, "predict_proba") else {}
    return {id(last): {**options, **({"raw_scores": True} if fitted.uses_decision_function else {})}}


def _output_scale(fitted: FittedPipeline) -> OutputScale:
    if fitted.kind == "regression":
        return "value"
    if not fitted.uses_decision_function:
        return "probabilities"
    return "margin" if fitted.kind == "binary" else "logits"


def _measure_difference(fitted: FittedPipeline, model: OnnxModel, rows: Array) -> float:
    """Return the largest difference, relative to one more than the pipeline's own output."""
    import numpy as np

    # Served rows may lack every value, or have a category that no train row had.
    rows = np.vstack([rows, np.full((1, rows.shape[1]), np.nan), np.full((1, rows.shape[1]), 1e6)])
    expected, native = fitted.predict_native(rows), model.predict_native(rows)
    if fitted.kind == "binary":
        expected, native = expected[:, -1], native[:, -1]
    difference = np.abs(native - expected) / (1 + np.abs(expected))
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")

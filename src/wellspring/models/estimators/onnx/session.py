"""Run an ONNX model: one thread, on the CPU, one row at a time, so that a row has the same bits in every batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wellspring.errors import CorruptedError, package_missing
from wellspring.models.estimators.onnx.graph import parse_graph
from wellspring.models.estimators.port import ObjectiveKind
from wellspring.models.estimators.sklearn.pipeline import log_odds, log_probabilities
from wellspring.plugins import guard_plugin_code

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Array = np.ndarray[Any, Any]

OutputScale = Literal["probabilities", "logits", "margin", "value"]
"""What the output of a model is. margin: the last column is the log odds of the second label, or as good as them."""
_METADATA = {name: f"wellspring.{name}" for name in ("kind", "classes", "output", "scale")}
_RETRAIN_FIX = "stop; train the model again"


class OutputMeaning(NamedTuple):
    """What `model.onnx` records about its output. classes: as in Objective. output: its name in the graph."""

    kind: ObjectiveKind
    classes: int
    output: str
    scale: OutputScale

    @property
    def widths(self) -> frozenset[int]:
        """Return the numbers of columns that the output may have."""
        if self.kind == "regression":
            return frozenset({1})
        return frozenset({self.classes}) if self.kind == "multiclass" else frozenset({1, 2})

    def convert_native(self, native: Array) -> Array:
        """Convert the output of one row to the raw output of the port, as one line."""
        import numpy as np

        if self.kind == "multiclass":
            return log_probabilities(native) if self.scale == "probabilities" else native
        last = native[:, -1:]
        if self.scale == "probabilities":
            return log_odds(last[:, 0])
        if self.scale == "logits" and native.shape[1] == 2:
            return np.asarray(last - native[:, :1])
        return last


class OnnxModel:
    """An ONNX model in memory. Raises CorruptedError for a file that may not run, or that no training wrote."""

    def __init__(self, content: bytes) -> None:
        graph = parse_graph(content)
        if isinstance(graph, str):
            raise CorruptedError(f"model.onnx cannot be used: {graph}", fix=_RETRAIN_FIX)
        self._content = content
        self._meaning = read_meaning(graph)
        self._session = open_session(content)
        self._input = self._session.get_inputs()[0]
        if self._meaning.output not in {output.name for output in self._session.get_outputs()}:
            raise CorruptedError("model.onnx does not have the output that it names", fix=_RETRAIN_FIX)

    def predict_native(self, rows: Array) -> Array:
        """Return the output of the graph, one line per row, in double precision."""
        import numpy as np

        number_type = np.float64 if self._input.type == "tensor(double)" else np.float32
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite
            rows = np.ascontiguousarray(rows, dtype=number_type)
        names = [self._meaning.output]
        with guard_plugin_code("model.onnx cannot compute a row", fix=_RETRAIN_FIX):
            lines = [
                np.asarray(self._session.run(names, {self._input.name: rows[position : position + 1]})[0], dtype=float)
                for position in range(len(rows))
            ]
        if any(line.size not in self._meaning.widths for line in lines):
            raise CorruptedError(
                f"the output {self._meaning.output!a} of model.onnx has {lines[0].size} columns; "
                f"{' or '.join(map(str, sorted(self._meaning.widths)))} are expected",
                fix=_RETRAIN_FIX,
            )
        return np.array([line.reshape(-1) for line in lines]) if lines else np.empty((0, max(self._meaning.widths)))

    def predict_rows(self, rows: Array) -> Array:
        """Return the raw outputs, computed row by row."""
        import numpy as np

        native = self.predict_native(rows)
        converted = [self._meaning.convert_native(native[position : position + 1]) for position in range(len(native))]
        return np.vstack(converted) if converted else native[:, :1]

    def predict_row(self, row: Sequence[float]) -> tuple[float, ...]:
        """Return the raw output of one row."""
        import numpy as np

        return tuple(self.predict_rows(np.array([row], dtype=float))[0].tolist())

    def explain_row(self, row: Sequence[float], output: int) -> None:
        """Return None: a graph has no contributions."""

    def importance(self) -> None:
        """Return None: a graph has no importance of its features."""

    def size(self) -> dict[str, int]:
        """Return the size of the file."""
        return {"bytes": len(self._content)}

    def dump(self) -> bytes:
        """Return the file."""
        return self._content


def open_session(content: bytes) -> Any:
    """Open a session of onnxruntime: one thread, CPU, deterministic. Raises CorruptedError, Unavailable."""
    # Since 1.29 onnxruntime reports sessions and models to its vendor, unless this is set before its import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise package_missing("onnxruntime", extra="onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    with guard_plugin_code("onnxruntime cannot run model.onnx", fix=_RETRAIN_FIX):
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def write_meaning(graph: onnx.ModelProto, meaning: OutputMeaning) -> bytes:
    """Record the meaning of the output in a graph, and encode it; the same graph gives the same bytes."""
    values = {_METADATA[name]: str(value) for name, value in meaning._asdict().items()}
    unrelated = {entry.key: entry.value for entry in graph.metadata_props if entry.key not in values}
    del graph.metadata_props[:]
    for key, value in sorted({**unrelated, **values}.items()):
        graph.metadata_props.add(key=key, value=value)
    opsets = sorted((opset.domain, opset.version) for opset in graph.opset_import)
    del graph.opset_import[:]
    for domain, version in opsets:
        graph.opset_import.add(domain=domain, version=version)
    return graph.SerializeToString(deterministic=True)


def read_meaning(graph: onnx.ModelProto) -> OutputMeaning:
    """Read the meaning of the output. Raises CorruptedError for a file without it."""
    values = {entry.key: entry.value for entry in graph.metadata_props}
    kind, classes, output, scale = (values.get(_METADATA[name], "") for name in OutputMeaning._fields)
    if (
        kind not in ("binary", "multiclass", "regression")
        or scale not in ("probabilities", "logits", "margin", "value")
        or not classes.isdecimal()
        or not output
    ):
        raise CorruptedError("model.onnx does not record what its output means", fix=_RETRAIN_FIX)
    return OutputMeaning(kind, int(classes), output, scale)

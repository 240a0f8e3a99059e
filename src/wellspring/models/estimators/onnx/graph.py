"""Check an ONNX file before anything runs it: its size, its operators, and that it names no other file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wellspring.errors import package_missing

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 64 * 1024 * 1024
OPERATOR_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""The standard operators. Every other domain names operators of a library, which would run its code."""
_RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def parse_graph(content: bytes) -> onnx.ModelProto | str:
    """Parse an ONNX file; return the model, or the reason why it is refused. Nothing of the file is run."""
    if len(content) > MAX_BYTES:
        return f"it has {len(content):,} bytes; at most {MAX_BYTES:,} are read"
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise package_missing("onnx", extra="onnx") from None
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError:
        return "it is not an ONNX model"
    return _find_problem(model) or model


def _find_problem(model: onnx.ModelProto) -> str | None:
    import onnx

    graph = model.graph
    if not graph.node or not model.opset_import:
        return "it is not an ONNX model"
    domains = {opset.domain for opset in model.opset_import} | {node.domain for node in graph.node}
    if foreign := sorted(domains - OPERATOR_DOMAINS):
        return f"it uses operators of {', '.join(foreign)[:80]!a}, which are not standard operators"
    if model.functions or model.training_info:
        return "it defines functions of its own"
    if any(attribute.type in _graph_types() for node in graph.node for attribute in node.attribute):
        return "it contains a loop or a branch"
    if random_operators := sorted({node.op_type for node in graph.node} & _RANDOM_OPERATORS):
        return f"it is not deterministic: it uses {', '.join(random_operators)}"
    if any(
        tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _list_tensors(graph)
    ):
        return "its weights are in another file"
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        return f"it has {len(inputs)} inputs; it must have one, a matrix with one column per feature"
    tensor_type = inputs[0].type.tensor_type
    if tensor_type.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        return f"its input {inputs[0].name!a} is not of float or double"
    if len(tensor_type.shape.dim) != 2:
        return f"its input {inputs[0].name!a} is not a matrix with one column per feature"
    return None


def _graph_types() -> frozenset[Any]:
    import onnx

    return frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})


def _list_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """List every tensor of a graph without subgraphs: its constants, and those in attributes of nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)

"""Small ONNX graphs, as another team's tools would write them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper


def linear_graph(
    weights: Sequence[Sequence[float]],
    *,
    activation: str | None = None,
    fill_missing: bool = True,
    outputs: Sequence[str] = ("score",),
) -> onnx.ModelProto:
    """Build the graph `features @ weights`. weights: one line per feature, one column per output.

    activation: an operator that follows, such as Sigmoid. fill_missing: whether a missing value becomes 0. outputs: the
    names of outputs, all of them the same values.
    """
    features, width = len(weights), len(weights[0])
    table = helper.make_tensor("weights", TensorProto.FLOAT, (features, width), [x for line in weights for x in line])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, (1,), [0.0])
    nodes = []
    matrix = "features"
    if fill_missing:
        nodes = [
            helper.make_node("IsNaN", ["features"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        ]
        matrix = "filled"
    nodes.append(helper.make_node("MatMul", [matrix, "weights"], ["product"]))
    last = "product"
    if activation is not None:
        nodes.append(helper.make_node(activation, ["product"], ["activated"]))
        last = "activated"
    nodes += [helper.make_node("Identity", [last], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name in outputs],
        [table, *([zero] if fill_missing else [])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

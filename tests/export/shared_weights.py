"""An int8 ONNX file that ONNX Runtime cannot open with `session.x64quantprecision`."""

from __future__ import annotations

import numpy as np
import onnx


def two_layers_with_the_same_weights() -> bytes:
    """Two convolutions with one weight between them, clips `1 16 4 4`."""
    weights = np.full((16, 16, 1, 1), 127, np.int8)
    numbers = {"w": weights, "s": np.float32(0.01), "z": np.uint8(128), "zw": np.int8(0)}
    nodes = [onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q0"])]
    for number in range(2):
        nodes += [
            onnx.helper.make_node("DequantizeLinear", [f"q{number}", "s", "z"], [f"a{number}"]),
            onnx.helper.make_node("DequantizeLinear", ["w", "s", "zw"], [f"b{number}"]),
            onnx.helper.make_node("Conv", [f"a{number}", f"b{number}"], [f"c{number}"]),
            onnx.helper.make_node("QuantizeLinear", [f"c{number}", "s", "z"], [f"q{number + 1}"]),
        ]
    values = [
        onnx.helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("x", onnx.TensorProto.FLOAT, [1, 16, 4, 4]),
            ("q2", onnx.TensorProto.UINT8, None),
        )
    ]
    stored = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    graph = onnx.helper.make_graph(nodes, "two", values[:1], values[1:], stored)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString()

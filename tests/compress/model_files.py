"""Small model files for tests of teachers, written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
UINT8 = TensorProto.UINT8
WEIGHT = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def mean_colour(
    path: Path,
    *,
    shape: tuple[int | None, ...] = (None, 3, 4, 32, 32),
    axes: tuple[int, ...] = (2, 3, 4),
    kind: int = TensorProto.FLOAT,
    weight: np.ndarray = WEIGHT,
    softmax: bool = False,
    more_outputs: bool = False,
    external: bool = False,
) -> Path:
    """An ONNX file whose logits are the mean colour of a clip, over `axes` of its input, times `weight`."""
    nodes = [
        helper.make_node("Cast", ["x"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["sum" if softmax else "y"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["sum"], ["y"]))
    batch = shape[0] if len(shape) > 3 else 1
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, weight.shape[1]])]
    if more_outputs:
        outputs.insert(0, helper.make_tensor_value_info("mean", TensorProto.FLOAT, [batch, 3]))
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        outputs,
        [
            numpy_helper.from_array(np.array(axes, np.int64), "axes"),
            numpy_helper.from_array(weight, "weight"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    more = {"save_as_external_data": True, "size_threshold": 0} if external else {}
    onnx.save(model, str(path), **more)
    return path


def expected(clips: np.ndarray, weight: np.ndarray = WEIGHT) -> np.ndarray:
    """The logits of `mean_colour` for clips `N 3 T H W`."""
    return clips.mean((2, 3, 4)) @ weight

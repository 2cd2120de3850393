"""A tiny real export of a network that streams: its logits are the sum of all frames' mean colours so far."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.benchmarks.small_exports import VIDEO_ONLY, file_row, onnx_export, write_manifest


def streaming_export(export_dir: Path) -> Path:
    """An ONNX file for clips, and one for single frames."""
    onnx_export(export_dir)
    path = export_dir / "onnx/fp32/model_step.onnx"
    size = VIDEO_ONLY.video.size
    _write(path, size=size)
    rows: dict[str, list[dict[str, Any]]] = {
        "inputs": [_tensor("frame", [1, 3, size, size], "NCHW"), _tensor("state_sum", [1, 3], "NC")],
        "outputs": [_tensor("logits", [1, 3], "NK"), _tensor("next_sum", [1, 3], "NC")],
    }
    clip = file_row(
        export_dir,
        format="onnx",
        path="onnx/fp32/model.onnx",
        inputs=[_tensor("clip", list(VIDEO_ONLY.shape("clip")), "NCTHW")],
        spec=VIDEO_ONLY,
    )
    step = {
        "path": "onnx/fp32/model_step.onnx",
        "entry": None,
        "size_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "states": {"state_sum": "next_sum"},
        "coverage": {"macs": 10},
        **rows,
    }
    write_manifest(export_dir, spec=VIDEO_ONLY, files=[clip | {"coverage": {"macs": 40}, "step": step}])
    return export_dir


def _tensor(name: str, shape: list[int], layout: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32", "layout": layout}


def _write(path: Path, *, size: int) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["frame", "axes"], ["colour"], keepdims=0),
        helper.make_node("Add", ["colour", "state_sum"], ["next_sum"]),
        helper.make_node("Identity", ["next_sum"], ["logits"]),
    ]
    inputs = [("frame", [1, 3, size, size]), ("state_sum", [1, 3])]
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("logits", "next_sum")],
        [numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

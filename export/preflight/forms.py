"""The lowered network in each writer's form, so that findings apply to the file."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

from export.lower.source import operator_name

STREAMED = {"executorch": True, "tflite": False}
"""Formats whose writers use stream order where that pays, and whether viewing frames as planes moves values
there."""


def as_written(
    name: str, scheme: str, program: ExportedProgram, *, lowered: fx.GraphModule, mixes_frames: bool
) -> ExportedProgram:
    """The lowered `program`, which was captured from `lowered`, in the form of the writer of `name`.

    ONNX Runtime's float form is chosen when a file is written, by default by measurement; here the per-frame form
    is assumed, which is usually the fastest.
    """
    from export.layout.stream_order import stream

    if name in STREAMED:
        return stream(program, plane_costs=STREAMED[name])[0]
    if name != "onnx" or (scheme != "w8a8" and not mixes_frames):
        return program
    assert program.example_inputs is not None
    written = _for_onnxruntime(program, lowered, scheme)
    return torch.export.export(written, program.example_inputs[0])


def _for_onnxruntime(program: ExportedProgram, lowered: fx.GraphModule, scheme: str) -> fx.GraphModule:
    from export.layout.forms import MOST_NODES
    from export.layout.per_frame import to_per_frame
    from export.layout.tap_fusion import lower

    if scheme == "w8a8":
        return lower(program)
    if scheme != "fp32":  # rounded weights come from the plain lowering in every format
        return lowered
    per_frame = to_per_frame(lowered)
    return per_frame if len(per_frame.graph.nodes) <= MOST_NODES else lowered


def mixes_frames(captured: ExportedProgram) -> bool:
    """Whether an operator on clips depends on several frames, so that ONNX Runtime has several forms to choose
    from."""
    return any(
        operator_name(node) == "conv3d" and node.args[1].meta["val"].shape[2] > 1  # type: ignore[union-attr]
        for node in captured.graph.nodes
    )


def origins_of(captured: ExportedProgram) -> dict[str, tuple[str, ...]]:
    """The user's operators by the stack trace of their call, which every derived node keeps."""
    found: dict[str, tuple[str, ...]] = {}
    for node in captured.graph.nodes:
        trace = node.meta.get("stack_trace")
        if node.op == "call_function" and trace:
            found[trace] = (*found.get(trace, ()), operator_name(node))
    return found

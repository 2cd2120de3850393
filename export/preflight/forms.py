"""The lowered network in the form in which each writer writes it, so that what is found there is in the file."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

from export.lower.source import operator_name

STREAMED = {"executorch": True, "tflite": False}
"""Formats whose writers write frames one after the other where that pays, and whether planes cost them moves."""


def as_written(
    name: str, scheme: str, program: ExportedProgram, *, lowered: fx.GraphModule, mixes_frames: bool
) -> ExportedProgram:
    """The lowered `program`, which was captured from `lowered`, as the writer of the format `name` has it.

    ONNX Runtime's float form is measured when a file is written; taken here is frames apart, which wins as a rule.
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
    from export.layout.per_frame import frames_apart
    from export.layout.select import MOST_NODES
    from export.layout.tap_fusion import lower

    if scheme == "w8a8":
        return lower(program)
    if scheme != "fp32":  # rounded weights are those of the plain lowering in every format
        return lowered
    apart = frames_apart(lowered)
    return apart if len(apart.graph.nodes) <= MOST_NODES else lowered


def mixes_frames(captured: ExportedProgram) -> bool:
    """Whether an operator on clips sees several frames at once, so that ONNX Runtime has several forms of it."""
    return any(
        operator_name(node) == "conv3d" and node.args[1].meta["val"].shape[2] > 1  # type: ignore[union-attr]
        for node in captured.graph.nodes
    )


def origins_of(captured: ExportedProgram) -> dict[str, tuple[str, ...]]:
    """The user's operators by the stack trace of their call, which every node that is made of them keeps."""
    found: dict[str, tuple[str, ...]] = {}
    for node in captured.graph.nodes:
        trace = node.meta.get("stack_trace")
        if node.op == "call_function" and trace:
            found[trace] = (*found.get(trace, ()), operator_name(node))
    return found

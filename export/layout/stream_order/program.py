"""Rewrites a lowered program, float or int8, in stream order."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

from export.layout.per_frame.rewrite import Rewriter
from export.layout.stream_order.choose import choose
from export.layout.stream_order.order import in_order
from export.layout.stream_order.recognise import recognise
from export.layout.stream_order.rounding import bare, rounded
from export.layout.stream_order.rules import STREAMED


def stream(program: ExportedProgram, *, plane_costs: bool) -> tuple[ExportedProgram, tuple[str, ...]]:
    """The program in stream order where that pays, and a note on the choice.

    `plane_costs` states whether the runtime moves values to view frames as the plane (T, H*W). If nothing is
    gained, the program itself is returned, without a note.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule) and program.example_inputs is not None
    bare(module)
    recognise(module.graph, STREAMED.rules)
    per_frame = choose(module, STREAMED.rules, plane_costs=plane_costs)
    if not per_frame:
        return program, ()
    written = Rewriter(module, STREAMED, per_frame=per_frame).run()
    rounded(written)
    written = in_order(written)
    layers = [node for node in per_frame if node.target is torch.ops.aten.conv2d.default]
    of = sum(node.target is torch.ops.aten.conv2d.default for node in module.graph.nodes)
    note = (
        f"form: frames one after the other in {len(layers)} of {of} convolutions, the others on whole clips"
    )
    return torch.export.export(written, program.example_inputs[0]), (note,)

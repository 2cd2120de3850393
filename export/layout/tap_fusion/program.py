"""Rewrites an int8 program for ONNX Runtime: `lower`, called by `export.job`."""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram

from export.layout.stream_order.recognise import recognise
from export.layout.stream_order.rounding import bare, rounded
from export.layout.stream_order.rules import STREAMED
from export.layout.tap_fusion.flat import flatten_linear_layers
from export.layout.tap_fusion.gathered import gather, gathered
from export.layout.tap_fusion.rows import write
from export.layout.tap_fusion.taps import tap_sums
from export.lower import NOTES, ROUNDED_ANEW


def lower(program: ExportedProgram) -> fx.GraphModule:
    """The program in that form; its `meta` records what was rewritten.

    Taps of depthwise kernels are added before rounding, and share one scale per channel. With such kernels
    (`ROUNDED_ANEW`) the numbers are not exactly those of the program, but closer to the float network.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    bare(module)
    recognise(module.graph, STREAMED.rules)
    sums, dense = tap_sums(module), gathered(module)
    rounded(module)
    for index, found in enumerate(sums):
        write(module, found, name=f"window{index}")
    for index, convolution in enumerate(dense):
        gather(module, convolution, name=f"gathered{index}")
    flatten_linear_layers(module.graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    note = f"form: depthwise kernels over space and time as one convolution each, {len(sums)} of them"
    module.meta |= {NOTES: (note,) if sums else (), ROUNDED_ANEW: bool(sums)}
    return module

"""Int4 weights with a scale per group in a form that torch's ONNX exporter knows.

DequantizeLinear with `block_size` would expand the weights in every inference, and ONNX Runtime's MatMulNBits takes
linear layers only. The rows of this form become Cast and Mul, which ONNX Runtime evaluates when it loads the file
(`export.emit.onnx.passes.weights`).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram


def groups_as_rows(program: ExportedProgram) -> ExportedProgram:
    """The program with every group as a row that has its own scale; the rows are reshaped to the weight.

    Given: `dequantize_affine` of integers `(O, I, *kernel)` in blocks `(1, channels, *kernel)`.
    Result: `dequantize_per_channel` of integers `(O * groups, channels, *kernel)` -> reshape.
    """
    import torchao.quantization.pt2e  # noqa: F401  registers both operators

    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule) and program.example_inputs is not None
    found = [n for n in graph.graph.nodes if n.target is torch.ops.torchao.dequantize_affine.default]
    if not found:
        return program
    for read in found:
        numbers, scales, zero_points = (attrgetter(str(read.args[at].target))(graph) for at in (0, 2, 3))
        rows = {
            "rows": numbers.reshape(scales.numel(), *read.args[1][1:]),
            "row_scales": scales.flatten(),
            "row_zero_points": zero_points.flatten(),
        }
        with graph.graph.inserting_before(read):
            nodes: list[Any] = []
            for name, tensor in rows.items():
                graph.register_buffer(f"{read.name}_{name}", tensor)
                nodes.append(graph.graph.get_attr(f"{read.name}_{name}"))
            arguments = (*nodes, 0, *read.args[5:7], torch.int8)
            expanded = graph.graph.call_function(
                torch.ops.quantized_decomposed.dequantize_per_channel.default, arguments
            )
            weight = graph.graph.call_function(
                torch.ops.aten.reshape.default, (expanded, list(numbers.shape))
            )
        read.replace_all_uses_with(weight)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return torch.export.export(graph, program.example_inputs[0])

"""Rewrites int8 constants that ExecuTorch's XNNPACK backend reads incorrectly (ExecuTorch 1.4.1).

Constants that additions and products use, such as the first state of an LSTM or positional embeddings, are inputs
of a partition. Where they are int8, the runtime reads and frees them incorrectly: files crash while they are
loaded, or return wrong numbers. So they stay float and are rounded inside the partition.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export.emit.executorch.weights import constant, stored
from export.quantize.weight_only import LAYERS

quantized = torch.ops.quantized_decomposed


def round_constants_inside(program: ExportedProgram) -> ExportedProgram:
    """The program with every int8 constant that is not a layer's weight as float, rounded where it is used."""
    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule) and program.example_inputs is not None
    found = [node for node in graph.graph.nodes if _round_inside(graph, node)]
    if not found:
        return program
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return torch.export.export(graph, program.example_inputs[0])


def _round_inside(graph: fx.GraphModule, node: Any) -> bool:
    """Makes `node` round such a constant itself. Returns whether it uses one."""
    if node.target is not quantized.dequantize_per_tensor.default:
        return False
    source, *meaning = node.args
    if source.op != "get_attr" or any(
        reader.target in LAYERS and reader.args[1] is node for reader in node.users
    ):
        return False
    numbers = quantized.dequantize_per_tensor(constant(graph, source), *meaning)
    with graph.graph.inserting_before(node):
        floats = stored(graph, f"{node.name}_float", numbers)
        rounded = graph.graph.call_function(quantized.quantize_per_tensor.default, (floats, *meaning))
    node.args = (rounded, *meaning)
    return True

"""Duplicates values that ExecuTorch's XNNPACK backend adapts to one of several consumers (1.4.1).

- A `dequantize` is fused into its consumer. If an output of the network or a float operator uses the same node,
  these get the integers as if they were floats: outputs are wrong or empty, the runtime refuses to resize them, or
  it writes beyond their memory.
- The bias of a layer becomes int32 in units of input scale x weight scale, once: a second layer that uses it (a
  network applied twice, each step of an LSTM) computes with the units of the first.
- The weight of a 1D convolution gets a second axis, once per layer: for a second layer the shape no longer fits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export.emit.executorch.weights import constant, reads, stored
from export.quantize.weight_only import LAYERS

_ONE_AXIS = (torch.ops.aten.conv1d.default, torch.ops.aten.conv1d.padding)

quantized = torch.ops.quantized_decomposed


def separate_consumers(program: ExportedProgram) -> ExportedProgram:
    """The program with a `dequantize` for each consumer of an int8 value, a bias for each int8 layer, and a weight
    for each 1D convolution."""
    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule) and program.example_inputs is not None
    parted = [_separate_values(graph), _separate_biases(graph), _separate_weights(graph)]
    if not any(parted):
        return program
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return torch.export.export(graph, program.example_inputs[0])


def _separate_values(graph: fx.GraphModule) -> bool:
    shared = [
        node
        for node in graph.graph.nodes
        if node.target is quantized.dequantize_per_tensor.default and len(node.users) > 1
    ]
    for node in shared:
        for reader in list(node.users)[1:]:
            with graph.graph.inserting_before(reader):
                reader.replace_input_with(node, graph.graph.node_copy(node))
    return bool(shared)


def _separate_biases(graph: fx.GraphModule) -> bool:
    def bias(layer: fx.Node) -> Any:
        return layer.args[2] if len(layer.args) > 2 and _is_int8(layer.args[1]) else None

    layers = [layer for layer in graph.graph.nodes if layer.target in LAYERS]
    return _separate(graph, [(layer, bias(layer)) for layer in layers])


def _separate_weights(graph: fx.GraphModule) -> bool:
    def weight(layer: fx.Node) -> tuple[fx.Node, Any]:
        read: Any = layer.args[1]
        return (read, read.args[0]) if _is_int8(read) else (layer, read)

    return _separate(graph, [weight(layer) for layer in graph.graph.nodes if layer.target in _ONE_AXIS])


def _separate(graph: fx.GraphModule, reads: list[tuple[fx.Node, Any]]) -> bool:
    """Gives every user of a constant but the first a copy of it. Returns whether there were such users."""
    seen: set[str] = set()
    parted = False
    for reader, read in reads:
        if not isinstance(read, fx.Node) or read.op != "get_attr":
            continue
        if str(read.target) in seen:
            with graph.graph.inserting_before(reader):
                own = stored(graph, f"{reader.name}_own_{read.name}", constant(graph, read).detach().clone())
            own.meta = dict(read.meta)
            reader.replace_input_with(read, own)
            parted = True
        seen.add(str(read.target))
    return parted


def _is_int8(weight: Any) -> bool:
    return isinstance(weight, fx.Node) and weight.target in reads()

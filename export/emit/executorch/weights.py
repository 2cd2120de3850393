"""Weights in 8 or 4 bits for ExecuTorch's XNNPACK backend, which has no kernels that compute with them in float.

Dense convolutions (8 bits) and linear layers (8 or 4 bits) take activations that are rounded to int8 at run time,
with a scale for each image or row (XNNPACK's kernels `qd8-f32-qc8w`, `qd8-f32-qc4w` and, for groups,
`qd8-f32-qb4w`). Depthwise convolutions have no such kernel, and ExecuTorch's passes fail for 1D convolutions: the
weights of both are written as dequantized floats.

Source: `backends/xnnpack/partition/config/gemm_configs.py` and `_passes/channels_last_tagged_reshape_pass.py` of
ExecuTorch 1.4. It writes the weights of convolutions as float32 even where they compute in float16
(`operators/op_conv2d.py`), which is why there are no `.pte` files in `fp16`.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lower.source import operator_name, place
from export.quantize.grid import LIMITS
from export.quantize.weight_only import LAYERS

aten = torch.ops.aten

GROUP = 32
"""Groups of `qd8-f32-qb4w` have a multiple of this number of weights (`operators/node_visitor.py`)."""

_SMALLEST_SCALE = 1e-7
"""An image of zeros needs a scale above zero."""


def round_activations(program: ExportedProgram) -> ExportedProgram:
    """The program of `export.quantize.weight_only.store_weights` in the form that XNNPACK runs.

    Raises ValueError if a 2D convolution has 4-bit weights, and for groups for which there is no kernel.
    """
    read_weights = reads()
    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule) and program.example_inputs is not None
    for node in list(graph.graph.nodes):
        weight: Any = node.args[1] if node.target in LAYERS else None
        if weight is None or weight.target not in read_weights:
            continue
        with graph.graph.inserting_before(node):
            if node.target is aten.linear.default:
                _require_kernel(node, weight)
                activation: Any = node.args[0]
            elif node.target is aten.conv1d.default or _is_depthwise(graph, node, weight):
                values = (constant(graph, a) if isinstance(a, fx.Node) else a for a in weight.args)
                node.replace_input_with(
                    weight, stored(graph, f"{node.name}_weight_float", weight.target(*values))
                )
                continue
            elif LIMITS[4] in (weight.args[4:6], weight.args[5:7]):
                raise ValueError(
                    f"{operator_name(node)} at {place(node)} would have 4-bit weights: ExecuTorch has kernels for "
                    "them in linear layers only; use the scheme w8 for .pte files"
                )
            else:
                activation = _channels_last(graph, node)
            # The partitioner cannot separate layers that share a weight's dequantize.
            node.replace_input_with(weight, graph.graph.call_function(weight.target, weight.args))
            node.replace_input_with(node.args[0], _rounded(graph, activation))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return torch.export.export(graph, program.example_inputs[0])


def reads() -> tuple[Any, Any]:
    """The operators that dequantize stored weights: with a scale per output channel, and per group."""
    import torchao.quantization.pt2e  # noqa: F401  registers them

    ops = torch.ops
    return ops.quantized_decomposed.dequantize_per_channel.default, ops.torchao.dequantize_affine.default


def _require_kernel(linear: fx.Node, weight: Any) -> None:
    _, read_groups = reads()
    if weight.target is not read_groups:
        return
    _, size = weight.args[1]
    if size % GROUP:
        raise ValueError(
            f"{operator_name(linear)} at {place(linear)} would have int4 weights in groups of {size}: ExecuTorch "
            f"has kernels for multiples of {GROUP} only; use w4 without group_size for .pte files"
        )


def _is_depthwise(graph: fx.GraphModule, conv: fx.Node, weight: Any) -> bool:
    groups: Any = conv.args[6] if len(conv.args) > 6 else conv.kwargs.get("groups", 1)
    return groups > 1 and constant(graph, weight.args[0]).shape[1] == 1


def _channels_last(graph: fx.GraphModule, conv: fx.Node) -> Any:
    """The input of `conv`, passed through an operator that changes nothing but returns channels last.

    If a rounded value is not channels last, ExecuTorch converts the network's input instead. A PReLU of slope 1 is
    the identity, and only in that memory format.
    """
    slope = stored(graph, f"{conv.name}_slope", torch.ones(1))
    return graph.graph.call_function(aten.prelu.default, (conv.args[0], slope))


def _rounded(graph: fx.GraphModule, value: fx.Node) -> fx.Node:
    """`value` rounded to int8 with a scale that is computed at run time."""
    quantized, call = torch.ops.quantized_decomposed, graph.graph.call_function
    limits = (-128, 127)
    chosen = call(quantized.choose_qparams.tensor, (value, *limits, _SMALLEST_SCALE, torch.int8))
    scale, zero_point = (call(operator.getitem, (chosen, index)) for index in (0, 1))
    numbers = call(quantized.quantize_per_tensor.tensor, (value, scale, zero_point, *limits, torch.int8))
    return call(quantized.dequantize_per_tensor.tensor, (numbers, scale, zero_point, *limits, torch.int8))


def stored(graph: fx.GraphModule, name: str, tensor: Tensor) -> fx.Node:
    """A node for `tensor`, which is added to the graph."""
    graph.register_buffer(name, tensor)
    return graph.graph.get_attr(name)


def constant(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    """The tensor behind a constant node."""
    return operator.attrgetter(str(node.target))(graph)

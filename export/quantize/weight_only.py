"""Weights in fewer bits, activations in float: the schemes `fp16`, `w8`, `w4` and `p4`, the same for every backend.

- `fp16`: every float tensor of the network is rounded to float16. Constants beyond its range stay float32, such as
  attention masks with -1e30, which are small.
- `w8`: weights of convolutions and linear layers are int8, one symmetric scale per output channel, -127..127.
- `w4`: those of dense layers with `MANY` or more weights per output channel are int4, -7..7, at the scale with the
  least squared error, one per output channel, or per group of input channels (`export.quantize.grid`). The layers
  next to inputs and logits, and those with few weights, stay at 8 bits: they hold a few percent of the weights, and
  their errors count most (the exceptions of DoReFa-Net, arXiv:1606.06160, section 2.7).
- `p4`: the weights of each larger layer have 16 different values (`export.quantize.palette`), rounded in place.

Constant weights of the lowering (moving frames, normalising clips) and biases are not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.quantize.grid import LIMITS, Grid, grid_of_least_error, widest_grid
from export.quantize.palette import LEAST, palettized

aten = torch.ops.aten

WEIGHT_SCHEMES = ("fp16", "w8", "w4", "p4")
"""Weight-only schemes, which need no calibration."""

LAYERS = (
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.linear.default,
)
"""Operators whose second argument is a weight with its output channels first; 3D ones, and those with `padding`,
occur in the original network."""

MANY = 32
"""Minimum number of weights per output channel for 4 bits in a dense layer."""

FEW = 4
"""Minimum number of weights per output channel for int8: with fewer, the scales take the space that int8 saves."""


def store_weights(
    lowered: fx.GraphModule,
    *,
    scheme: str,
    grids: Mapping[str, Grid] | None = None,
    group_size: int | None = None,
) -> fx.GraphModule:
    """A copy of a lowered float graph with the weights of the scheme's files.

    It is the input of the writers, and the reference of their files. `w8` and `w4` weights are int8 tensors
    followed by `quantized_decomposed.dequantize_per_channel`, or `torchao.dequantize_affine` for groups, whose
    limits are -8 and 7 for 4-bit ones. `fp16` weights are rounded in place: float16 represents each of them
    exactly. `grids` are those of `weight_grids`, for weights that are changed since; by default they are found
    here, with groups of at most `group_size` weights.

    Raises ValueError for another scheme, for groups in another scheme than `w4`, and for trainable weights that
    exceed float16.
    """
    if scheme not in WEIGHT_SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not weight-only; allowed: {', '.join(WEIGHT_SCHEMES)}")
    if group_size is not None and scheme != "w4":
        raise ValueError(f"group_size is for scheme w4 only; scheme {scheme} does not use it")
    stored = copy.deepcopy(lowered)
    if scheme == "fp16":
        _round_to_float16(stored)
    elif scheme == "p4":
        _use_palettes(stored)
    else:
        if grids is None:
            grids = weight_grids(stored, scheme=scheme, group_size=group_size)
        _store_integers(stored, grids)
    return stored


def weight_grids(lowered: fx.GraphModule, *, scheme: str, group_size: int | None = None) -> dict[str, Grid]:
    """The grid of every weight that `w8` or `w4` stores as integers, by the name of the weight.

    With `group_size`, int4 weights have a scale for at most that many weights of an output channel.
    """
    parameters = dict(lowered.named_parameters())
    readers = _readers(lowered)
    edges = _next_to_edges(lowered, {layer for layers in readers.values() for layer in layers})
    found = {}
    for weight, layers in readers.items():
        value = parameters[str(weight.target)].detach()
        is_large = value[0].numel() >= MANY and all(
            _is_dense(layer) and layer not in edges for layer in layers
        )
        bits = int(scheme.removeprefix("w")) if is_large else 8
        _, limit = LIMITS[bits]
        found[str(weight.target)] = (
            widest_grid(value, limit=limit)
            if bits == 8
            else grid_of_least_error(value, limit=limit, group_size=group_size)
        )
    return found


def _round_to_float16(graph: fx.GraphModule) -> None:
    largest = torch.finfo(torch.float16).max
    for name, tensor in graph.state_dict(keep_vars=True).items():
        if tensor.dtype is not torch.float32:
            continue
        if bool((tensor.abs() <= largest).all()):
            tensor.data = tensor.data.half().float()
        elif isinstance(tensor, nn.Parameter):
            raise ValueError(
                f"{name!r} holds values up to {tensor.abs().max():.3g}, and float16 ends at {largest:.0f}; "
                "use the scheme fp32, w8 or w8a8"
            )


def _use_palettes(graph: fx.GraphModule) -> None:
    parameters = dict(graph.named_parameters())
    for name in {str(weight.target) for weight in _readers(graph)}:
        if parameters[name].numel() > LEAST:
            parameters[name].data = palettized(parameters[name])


def _readers(graph: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """Every weight that is stored as integers, with the layers that read it."""
    parameters = {name for name, p in graph.named_parameters() if p.dim() and p[0].numel() >= FEW}
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        weight: Any = node.args[1] if node.target in LAYERS else None
        if weight is not None and weight.op == "get_attr" and str(weight.target) in parameters:
            readers.setdefault(weight, []).append(node)
    return readers


def _store_integers(graph: fx.GraphModule, grids: Mapping[str, Grid]) -> None:
    parameters = dict(graph.named_parameters())
    for weight, layers in _readers(graph).items():
        name = str(weight.target)
        read = _read_as_float(graph, weight, parameters[name].detach(), grids[name])
        for layer in layers:
            layer.replace_input_with(weight, read)
        if not weight.users:
            graph.graph.erase_node(weight)
            owner, _, last = name.rpartition(".")
            delattr(graph.get_submodule(owner), last)
    graph.recompile()


def _read_as_float(graph: fx.GraphModule, weight: fx.Node, value: Tensor, grid: Grid) -> fx.Node:
    """Numbers, scales and zero points as buffers in place of `weight`, and the operator that dequantizes them."""
    import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed and torch.ops.torchao

    scale = grid.scale
    if grid.has_groups:
        scale = scale.reshape(*scale.shape, *[1] * (value.dim() - 2))
    parts = {
        "int8": grid.integers(value).to(torch.int8),
        "scale": scale,
        "zero_point": torch.zeros(scale.shape, dtype=torch.int64),
    }
    nodes: list[fx.Node] = []
    with graph.graph.inserting_before(weight.next):
        for suffix, tensor in parts.items():
            graph.register_buffer(f"{weight.name}_{suffix}", tensor)
            nodes.append(graph.graph.get_attr(f"{weight.name}_{suffix}"))
            nodes[-1].meta["val"] = tensor
        numbers, scales, zero_points = nodes
        limits = LIMITS[grid.bits]
        if grid.has_groups:
            block = [1, value.shape[1] // grid.scale.shape[1], *value.shape[2:]]
            arguments: Any = (numbers, block, scales, zero_points, torch.int8, *limits, torch.float32)
            operator: Any = torch.ops.torchao.dequantize_affine.default
        else:
            arguments = (numbers, scales, zero_points, 0, *limits, torch.int8)
            operator = torch.ops.quantized_decomposed.dequantize_per_channel.default
        read = graph.graph.call_function(operator, arguments)
    read.meta = dict(weight.meta)
    return read


def _is_dense(layer: fx.Node) -> bool:
    """Whether every output channel depends on every input channel."""
    groups: Any = layer.args[6] if len(layer.args) > 6 else layer.kwargs.get("groups", 1)
    return groups == 1


def _next_to_edges(graph: fx.GraphModule, layers: set[fx.Node]) -> set[fx.Node]:
    """Layers without another layer between them and the inputs, or between them and the outputs."""

    def behind(nodes: Iterable[fx.Node], sources: Callable[[fx.Node], Iterable[fx.Node]]) -> set[fx.Node]:
        found: set[fx.Node] = set()
        for node in nodes:
            if any(source in layers or source in found for source in sources(node)):
                found.add(node)
        return found

    nodes = list(graph.graph.nodes)
    after_one = behind(nodes, lambda node: node.all_input_nodes)
    before_one = behind(reversed(nodes), lambda node: node.users)
    return layers - (after_one & before_one)

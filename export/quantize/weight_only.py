"""Weights in fewer bits, activations in float: the schemes `fp16`, `w8`, `w4` and `p4`, the same for every backend.

- `fp16`: every float tensor of the network is rounded to float16. Constants beyond its range stay float32, such as
  attention masks with -1e30, which are small.
- `w8`: weights of convolutions and linear layers are int8, one symmetric scale per output channel, -127..127.
- `w4`: those of dense layers with `MANY` or more weights per output channel are int4, -7..7, at the scale with the
  least squared error. The layers next to inputs and logits, and those with few weights, stay at 8 bits: they hold a
  few percent of the weights, and their errors count most (the exceptions of DoReFa-Net, arXiv:1606.06160, section
  2.7).
- `p4`: the weights of each larger layer have 16 different values (`export.quantize.palette`), rounded in place.

Constant weights of the lowering (moving frames, normalising clips) and biases are not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

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

LIMITS = {8: (-127, 127), 4: (-8, 7)}
"""Largest integer of a weight, by bits; -8 is never used, so that rounding is symmetric."""

_SHRINKS = torch.linspace(1.0, 0.5, 26)
"""Fractions of a channel's largest weight that are tried as its largest integer."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values that an integer weight can have."""

    scale: Tensor
    """One scale per output channel (axis 0)."""
    limit: int
    """Largest integer: 127 or 7."""

    @property
    def bits(self) -> int:
        """Bits of an integer."""
        return next(bits for bits, (_, largest) in LIMITS.items() if largest == self.limit)

    def rounded(self, weight: Tensor) -> Tensor:
        """The nearest value for every element of `weight`."""
        return _numbers(weight, self.scale, self.limit) * _per_channel(self.scale, weight)


def store_weights(
    lowered: fx.GraphModule, *, scheme: str, grids: Mapping[str, Grid] | None = None
) -> fx.GraphModule:
    """A copy of a lowered float graph with the weights of the scheme's files.

    It is the input of the writers, and the reference of their files. `w8` and `w4` weights are int8 tensors
    followed by `quantized_decomposed.dequantize_per_channel`, whose limits are -8 and 7 for 4-bit ones. `fp16`
    weights are rounded in place: float16 represents each of them exactly. `grids` are those of `weight_grids`, for
    weights that are changed since; by default they are found here.

    Raises ValueError for another scheme, and for trainable weights that exceed float16.
    """
    if scheme not in WEIGHT_SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not weight-only; allowed: {', '.join(WEIGHT_SCHEMES)}")
    stored = copy.deepcopy(lowered)
    if scheme == "fp16":
        _round_to_float16(stored)
    elif scheme == "p4":
        _use_palettes(stored)
    else:
        _store_integers(stored, weight_grids(stored, scheme=scheme) if grids is None else grids)
    return stored


def weight_grids(lowered: fx.GraphModule, *, scheme: str) -> dict[str, Grid]:
    """The grid of every weight that `w8` or `w4` stores as integers, by the name of the weight."""
    parameters = dict(lowered.named_parameters())
    readers = _readers(lowered)
    edges = _next_to_edges(lowered, {layer for layers in readers.values() for layer in layers})
    found = {}
    for weight, layers in readers.items():
        value = parameters[str(weight.target)].detach()
        is_large = value[0].numel() >= MANY and all(
            _is_dense(layer) and layer not in edges for layer in layers
        )
        limit = LIMITS[int(scheme.removeprefix("w")) if is_large else 8][1]
        scale = _scale(value, limit) if limit == LIMITS[8][1] else scale_of_least_error(value, limit=limit)
        found[str(weight.target)] = Grid(scale=scale, limit=limit)
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
    import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed

    parts = {
        "int8": _numbers(value, grid.scale, grid.limit).to(torch.int8),
        "scale": grid.scale,
        "zero_point": torch.zeros(len(grid.scale), dtype=torch.int64),
    }
    nodes: list[fx.Node] = []
    with graph.graph.inserting_before(weight.next):
        for suffix, tensor in parts.items():
            graph.register_buffer(f"{weight.name}_{suffix}", tensor)
            nodes.append(graph.graph.get_attr(f"{weight.name}_{suffix}"))
            nodes[-1].meta["val"] = tensor
        arguments: Any = (*nodes, 0, *LIMITS[grid.bits], torch.int8)
        read = graph.graph.call_function(
            torch.ops.quantized_decomposed.dequantize_per_channel.default, arguments
        )
    read.meta = dict(weight.meta)
    return read


def scale_of_least_error(weight: Tensor, *, limit: int) -> Tensor:
    """The scale of each output channel (axis 0) with the least squared error of rounding to `-limit..limit`."""
    widest = _scale(weight, limit)
    best, least = widest, torch.full_like(widest, torch.inf)
    for shrink in _SHRINKS:
        scale = widest * shrink
        rounded = _numbers(weight, scale, limit) * _per_channel(scale, weight)
        error = (weight - rounded).square().flatten(1).sum(1)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _scale(weight: Tensor, limit: int) -> Tensor:
    """Scales that map the largest weight of each channel to `limit`; 1 for a channel of zeros."""
    extremes = weight.flatten(1).abs().amax(1)
    return torch.where(extremes > 0, extremes / limit, 1.0)


def _numbers(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    return (weight / _per_channel(scale, weight)).round().clamp(-limit, limit)


def _per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weight.dim() - 1))


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

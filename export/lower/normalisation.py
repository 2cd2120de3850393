"""BatchNorm in eval mode: folded into the layer before it, or else one multiply-add per channel."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.elementwise import per_channel
from export.lower.lowering import Lowering
from export.lower.source import bind
from export.lower.volume import Volume

aten = torch.ops.aten

BATCH_NORM = aten._native_batch_norm_legit_no_training.default

TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)

LAYERS = (
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.linear.default,
)
"""Operators with trainable `weight` and `bias`."""


def fold_norms(graph: fx.Graph) -> None:
    """Folds a BatchNorm into the weights of the layer before it if the layer has no other user."""
    for norm in list(graph.nodes):
        if norm.target is not BATCH_NORM or norm.args[0].target not in (*LAYERS, *TRANSPOSED):
            continue
        layer = norm.args[0]
        # BatchNorm works on axis 1; Linear has its output channels last.
        channels_match = layer.target is not aten.linear.default or layer.meta["val"].dim() == 2
        args = bind(layer, layer.args, layer.kwargs)
        stored = [args["weight"], args["bias"], *norm.args[1:5]]
        if len(layer.users) > 1 or not channels_match or not all(_is_stored(node) for node in stored):
            continue
        statistics = (*norm.args[1:5], norm.args[6])
        groups = args["groups"] if layer.target in TRANSPOSED else None
        with graph.inserting_before(layer):
            weight = graph.call_function(folded_weight, (args["weight"], *statistics, groups))
            bias = graph.call_function(folded_bias, (args["bias"], *statistics))
        weight.meta["val"], bias.meta["val"] = args["weight"].meta["val"], norm.args[3].meta["val"]
        layer.args = (layer.args[0], weight, bias, *layer.args[3:])
        for reader in list(norm.users):
            if reader.target is operator.getitem and reader.args[1] == 0:
                reader.replace_all_uses_with(layer)
            graph.erase_node(reader)
        graph.erase_node(norm)


def _is_stored(node: fx.Node | None) -> bool:
    return node is None or node.op in ("get_attr", "placeholder")


def folded_weight(
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    transposed_groups: int | None,
) -> Tensor:
    """Weights `O I ...` (`I O/groups ...` of a transposed convolution) times the factors of a BatchNorm."""
    factors, _ = _scale_and_shift(scale, shift, mean, variance, eps)
    if transposed_groups is None:
        return (weight.double() * factors.reshape(-1, *[1] * (weight.dim() - 1))).to(weight.dtype)
    per_group = weight.double().reshape(transposed_groups, -1, *weight.shape[1:])
    factors = factors.reshape(transposed_groups, 1, -1, *[1] * (weight.dim() - 2))
    return (per_group * factors).reshape(weight.shape).to(weight.dtype)


def folded_bias(
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    """The bias of a layer followed by a BatchNorm."""
    factors, offsets = _scale_and_shift(scale, shift, mean, variance, eps)
    total = offsets if bias is None else offsets + bias.double() * factors
    return total.to(mean.dtype)


def batch_norm(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> tuple[Any, None, None]:
    """A BatchNorm that no layer absorbs, as one multiply-add per channel."""
    statistics = (args[key] for key in ("weight", "bias", "running_mean", "running_var", "eps"))
    scale, shift = _scale_and_shift(*statistics)
    x, writer = args["input"], lowering.writer
    if isinstance(x, Volume):
        return (per_channel(lowering, node, x, scale, shift, trainable=True), None, None)
    per_axis_1 = (1, -1, *[1] * (x.meta["val"].dim() - 2))
    scale_node = writer.weight(scale.float().reshape(per_axis_1), name=f"{node.name}_factors")
    shift_node = writer.weight(shift.float().reshape(per_axis_1), name=f"{node.name}_offsets")
    product = writer.call(aten.mul.Tensor, (x, scale_node), name=f"{node.name}_scaled")
    return (writer.call(aten.add.Tensor, (product, shift_node), name=f"{node.name}_shifted"), None, None)


def _scale_and_shift(
    scale: Tensor | None, shift: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """BatchNorm as `x * scale + shift` per channel, in float64."""
    factor = torch.rsqrt(variance.detach().double() + eps)
    if scale is not None:
        factor = factor * scale.detach().double()
    offset = -mean.detach().double() * factor
    if shift is not None:
        offset = offset + shift.detach().double()
    return factor, offset

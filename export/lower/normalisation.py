"""BatchNorm in eval mode: folded into the layer before it, or one multiply-add per channel where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from export.lower.elementwise import per_channel
from export.lower.source import bind
from export.lower.volume import Volume

if TYPE_CHECKING:
    from export.lower.program import Lowering

aten = torch.ops.aten

BATCH_NORM = aten._native_batch_norm_legit_no_training.default

LAYERS = (
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.linear.default,
)
"""Operators with trainable `weight` and `bias` that a BatchNorm folds into."""


def foldable(module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Layer -> BatchNorm, where that BatchNorm is all that reads the layer's result."""
    pairs = {}
    for norm in module.graph.nodes:
        if norm.target is BATCH_NORM and norm.args[0].target in LAYERS:
            layer = norm.args[0]
            # BatchNorm works on axis 1; Linear has its output channels last.
            channels_match = layer.target is not aten.linear.default or layer.meta["val"].dim() == 2
            stored = all(parameter is None or parameter.op == "get_attr" for parameter in norm.args[1:5])
            if len(layer.users) == 1 and channels_match and stored:
                pairs[layer] = norm
    return pairs


def folded(
    lowering: Lowering, node: fx.Node, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of layer `node`, with the BatchNorm behind it folded in where there is one."""
    norm = lowering.norms.get(node)
    if norm is None:
        return weight, bias
    scale, shift = _scale_and_shift(bind(norm, fx.map_arg(norm.args, lowering.values.get), {}))
    per_output = scale.reshape(-1, *[1] * (weight.dim() - 1))
    shift = shift if bias is None else shift + bias.detach().double() * scale
    return (weight.detach().double() * per_output).to(weight.dtype), shift.to(weight.dtype)


def batch_norm(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> tuple[Any, None, None]:
    """A BatchNorm that nothing absorbs, as one multiply-add per channel."""
    scale, shift = _scale_and_shift(args)
    x, writer = args["input"], lowering.writer
    if isinstance(x, Volume):
        return (per_channel(lowering, node, x, scale, shift, trainable=True), None, None)
    per_axis_1 = (1, -1, *[1] * (x.meta["val"].dim() - 2))
    scale_node = writer.weight(scale.float().reshape(per_axis_1), name=f"{node.name}_scale")
    shift_node = writer.weight(shift.float().reshape(per_axis_1), name=f"{node.name}_shift")
    product = writer.call(aten.mul.Tensor, (x, scale_node), name=f"{node.name}_scaled")
    return (writer.call(aten.add.Tensor, (product, shift_node), name=f"{node.name}_shifted"), None, None)


def _scale_and_shift(norm: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """BatchNorm as `x * scale + shift` per channel, in float64."""
    scale = torch.rsqrt(norm["running_var"].double() + norm["eps"])
    if norm["weight"] is not None:
        scale = scale * norm["weight"].double()
    shift = -norm["running_mean"].double() * scale
    if norm["bias"] is not None:
        shift = shift + norm["bias"].double()
    return scale.detach(), shift.detach()

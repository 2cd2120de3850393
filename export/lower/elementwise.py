"""Activations, arithmetic with broadcasting, and multiply-adds per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from export.lower.source import parameters, refuse, shape
from export.lower.volume import Form, Volume

if TYPE_CHECKING:
    from export.lower.program import Lowering

aten = torch.ops.aten


def unary(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """The same operator on whichever form is at hand."""
    x = args["self"]
    form = _at_hand(x, lowering.wanted(node))
    schema = parameters(node)[1:]
    rest = [args[argument.name] for argument in schema if not argument.kwarg_only]
    kwargs = {argument.name: args[argument.name] for argument in schema if argument.kwarg_only}
    return x.in_form(form, lowering.writer.call(node.target, (x[form], *rest), name=node.name, kwargs=kwargs))


def arithmetic(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Add, sub, mul, div: with a constant per channel one multiply-add, `binary` otherwise."""
    x, other, alpha = args["self"], args["other"], args.get("alpha", 1)
    if isinstance(x, Volume) and _is_per_channel(other, x):
        volume, constant = x, other
    elif isinstance(other, Volume) and _is_per_channel(x, other) and node.target is not aten.div.Tensor:
        volume, constant = other, x
    else:
        return binary(lowering, node, args)
    trainable = isinstance(constant, nn.Parameter)
    value, one = torch.as_tensor(constant).detach().double().reshape(-1), torch.ones(1).double()
    if node.target is aten.mul.Tensor:
        scale, shift = value, None
    elif node.target is aten.div.Tensor:
        scale, shift = 1 / value, None
    else:  # x + alpha * other, or x - alpha * other (rsub: other - alpha * x)
        sign = alpha if node.target is aten.add.Tensor else -alpha
        first_is_volume = (volume is x) != (node.target is aten.rsub.Scalar)
        scale, shift = (one, sign * value) if first_is_volume else (sign * one, value)
    return per_channel(lowering, node, volume, scale, shift, trainable=trainable)


def per_channel(
    lowering: Lowering,
    node: fx.Node,
    x: Volume,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    trainable: bool = False,
) -> Volume:
    """`x * scale + shift` with one value per channel (or one for all): a depthwise 1x1 Conv2d.

    Several in a row, such as `(x - mean) / std`, become one.
    """
    channels = x.shape[1]
    scale = scale.double().expand(channels)
    shift = torch.zeros(channels).double() if shift is None else shift.double().expand(channels)
    if x in lowering.scaled:
        x, earlier_scale, earlier_shift = lowering.scaled[x]
        scale, shift = earlier_scale * scale, earlier_shift * scale + shift
    form = _at_hand(x, lowering.wanted(node))
    store = lowering.writer.weight if trainable else lowering.writer.constant
    weight = store(scale.float().reshape(channels, 1, 1, 1), name=f"{node.name}_scale")
    bias = store(shift.float().contiguous(), name=f"{node.name}_shift")
    y = lowering.writer.call(
        aten.conv2d.default, (x[form], weight, bias, [1, 1], [0, 0], [1, 1], channels), name=node.name
    )
    result = x.in_form(form, y)
    lowering.scaled[result] = (x, scale, shift)
    return result


def binary(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Two operands that broadcast: in frames where both have as many frames, otherwise in the plane."""
    operands = [_operand(lowering, node, args[key], key) for key in ("self", "other")]
    volumes = [operand for operand in operands if isinstance(operand, Volume)]
    constant = any(isinstance(args[key], Tensor) for key in ("self", "other"))
    form = _shared_form(volumes, lowering.wanted(node), over_clips=constant)
    if form is None:
        shapes = " and ".join(str(volume.shape) for volume in volumes)
        raise refuse(
            node,
            f"shapes {shapes} broadcast over time and over one of rows and columns at once",
            "expand one operand to the full H x W before this line",
        )
    kwargs = {"alpha": args["alpha"]} if args.get("alpha", 1) != 1 else None
    values = [operand[form] if isinstance(operand, Volume) else operand for operand in operands]
    y = lowering.writer.call(node.target, values, name=node.name, kwargs=kwargs)
    return volumes[0].in_form(form, y, shape(node))


def _at_hand(x: Volume, wanted: Form | None) -> Form:
    return wanted if wanted is not None and wanted in x.forms else x.forms[0]


def _is_per_channel(value: Any, x: Volume) -> bool:
    if isinstance(value, int | float):
        return True
    if not isinstance(value, Tensor):
        return False
    if value.numel() == 1:
        return True
    return value.dim() in (4, 5) and value.numel() == value.shape[-4] == x.shape[1]


def _operand(lowering: Lowering, node: fx.Node, value: Any, key: str) -> Any:
    """A constant tensor as a value of rank 5; numbers and single-element tensors as they are."""
    if isinstance(value, Volume | int | float):
        return value
    if isinstance(value, fx.Node):
        if value.meta["val"].numel() == 1:
            return value
        raise refuse(
            node,
            f"a tensor of shape {tuple(value.meta['val'].shape)} meets one of rank 5",
            "give both operands rank 5, for example `.reshape(N, C, 1, 1, 1)`",
        )
    n, c, t, h, w = [1] * (5 - value.dim()) + list(value.shape)
    flat = value.reshape(n, c, t, h, w)
    if (h == 1) != (w == 1):
        h, w = shape(node)[3:]
        flat = flat.expand(n, c, t, h, w)
    flat = flat.reshape(n, c, t, h * w)
    store = lowering.writer.weight if isinstance(value, nn.Parameter) else lowering.writer.constant
    return Volume(lowering.writer, (n, c, t, h, w), "plane", store(flat, name=f"{node.name}_{key}"))


def _shared_form(volumes: list[Volume], wanted: Form | None, *, over_clips: bool) -> Form | None:
    """The form in which the operands broadcast, at the least cost of making it; None when there is none.

    Frames of different clips lie in one axis, so an operand that broadcasts over clips (a constant) needs the
    plane. The choice must not depend on the number of clips.
    """
    possible: list[Form] = []
    if len({volume.shape[2] for volume in volumes}) == 1 and not over_clips:
        possible.append("frames")
    pictures = {volume.shape[3:] for volume in volumes}
    if len(pictures - {(1, 1)}) <= 1:
        possible.append("plane")

    def cost(form: Form) -> tuple[int, bool]:
        missing = sum(volume.size for volume in volumes if form not in volume.forms)
        return missing, form != wanted

    return min(possible, key=cost, default=None)

"""Activations, arithmetic with broadcasting, and multiply-adds per channel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.lower.block import Block, Value, held, row_major, shape_of
from export.lower.lowering import Lowering
from export.lower.merging import RANK, merged, runs
from export.lower.reshaping import expanded
from export.lower.source import parameters, shape
from export.lower.volume import Form, Volume

aten = torch.ops.aten

FEW_CHANNELS = 4
"""Channels up to which a multiply-add per channel is written as a product and a sum."""


def unary(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """The same operator on the available form."""
    x = args["self"]
    rest, kwargs = _arguments(node, args)
    if not isinstance(x, Volume):
        y = lowering.writer.call(node.target, (row_major(x), *rest[1:]), name=node.name, kwargs=kwargs)
        return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")
    form = _at_hand(x, lowering.wanted(node))
    y = lowering.writer.call(node.target, (x[form], *rest[1:]), name=node.name, kwargs=kwargs)
    return x.in_form(form, y)


def converted(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Type conversion; nothing if the values have the type already."""
    source: Any = node.args[0]
    if source.meta["val"].dtype == node.meta["val"].dtype:
        return args["self"]
    kwargs = {"dtype": node.meta["val"].dtype}
    x = args["self"]
    form = x.forms[0] if isinstance(x, Volume) else None
    y = lowering.writer.call(
        aten._to_copy.default, (x[form] if form else row_major(x),), name=node.name, kwargs=kwargs
    )
    return x.in_form(form, y) if form else held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def arithmetic(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Add, sub, mul, div: with a constant per channel one multiply-add, `elementwise` otherwise."""
    x, other, alpha = args["self"], args["other"], args.get("alpha", 1)
    inverse = node.target in (aten.div.Tensor, aten.div.Scalar)
    if isinstance(x, Volume) and _is_per_channel(node, other, x):
        volume, constant = x, other
    elif isinstance(other, Volume) and _is_per_channel(node, x, other) and not inverse:
        volume, constant = other, x
    else:
        return elementwise(lowering, node, args)
    trainable = isinstance(constant, nn.Parameter)
    value, one = torch.as_tensor(constant).detach().double().reshape(-1), torch.ones(1).double()
    reverse = node.target in (aten.rsub.Scalar, aten.rsub.Tensor)
    if node.target in (aten.mul.Tensor, aten.mul.Scalar):
        scale, shift = value, None
    elif inverse:
        scale, shift = 1 / value, None
    else:  # x + alpha * other, or x - alpha * other (rsub: other - alpha * x)
        sign = alpha if node.target in (aten.add.Tensor, aten.add.Scalar) else -alpha
        first_is_volume = (volume is x) != reverse
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

    Consecutive ones, such as `(x - mean) / std`, are merged. With few channels, as in the normalisation of clips,
    convolution kernels stay half empty: there it is a product and a sum.
    """
    channels = x.shape[1]
    scale = scale.double().expand(channels)
    shift = torch.zeros(channels).double() if shift is None else shift.double().expand(channels)
    if x in lowering.scaled:
        x, earlier_scale, earlier_shift = lowering.scaled[x]
        scale, shift = earlier_scale * scale, earlier_shift * scale + shift
    form, writer = _at_hand(x, lowering.wanted(node)), lowering.writer
    store = writer.weight if trainable else writer.constant
    if channels <= FEW_CHANNELS:
        factors = store(scale.float().reshape(1, channels, 1, 1), name=f"{node.name}_factors")
        offsets = store(shift.float().reshape(1, channels, 1, 1), name=f"{node.name}_offsets")
        y = writer.call(aten.mul.Tensor, (x[form], factors), name=f"{node.name}_scaled")
        y = writer.call(aten.add.Tensor, (y, offsets), name=node.name)
    else:
        weight = store(scale.float().reshape(channels, 1, 1, 1), name=f"{node.name}_factors")
        bias = store(shift.float().contiguous(), name=f"{node.name}_offsets")
        geometry = ([1, 1], [0, 0], [1, 1], channels)
        y = writer.call(aten.conv2d.default, (x[form], weight, bias, *geometry), name=node.name)
    result = x.in_form(form, y)
    lowering.scaled[result] = (x, scale, shift)
    return result


def elementwise(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Broadcasting operands: in frames if all have the same number of frames, else in the plane, else merged."""
    operands, kwargs = _arguments(node, args)
    given = [value for value in operands if isinstance(value, fx.Node | Volume | Block | Tensor)]
    if len(shape(node)) == 5 and not any(_is_shapeless(value) for value in given):
        lifted = [_lifted(lowering, node, value, at) for at, value in enumerate(operands)]
        volumes = [value for value in lifted if isinstance(value, Volume)]
        form = _shared_form(
            volumes, lowering.wanted(node), over_clips=any(isinstance(value, Tensor) for value in given)
        )
        if form is not None:
            values = [value[form] if isinstance(value, Volume) else value for value in lifted]
            y = lowering.writer.call(node.target, values, name=node.name, kwargs=kwargs)
            return volumes[0].in_form(form, y, shape(node))
    return _merged(lowering, node, operands, kwargs)


def _arguments(node: fx.Node, args: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments; keyword-only ones only if they differ from the default."""
    schema = parameters(node)
    positional = [args[argument.name] for argument in schema if not argument.kwarg_only]
    named = [argument for argument in schema if argument.kwarg_only]
    return positional, {a.name: args[a.name] for a in named if args[a.name] != a.default_value}


def _at_hand(x: Volume, wanted: Form | None) -> Form:
    return wanted if wanted is not None and wanted in x.forms else x.forms[0]


def _is_per_channel(node: fx.Node, value: Any, x: Volume) -> bool:
    if not node.meta["val"].is_floating_point():
        return False
    if isinstance(value, int | float):
        return True
    if not isinstance(value, Tensor) or len(shape(node)) != 5:
        return False
    if value.numel() == 1:
        return True
    return value.dim() in (4, 5) and value.numel() == value.shape[-4] == x.shape[1]


def _is_shapeless(value: Any) -> bool:
    """Whether an operand is neither of rank 5, nor a constant, nor a single number."""
    return not isinstance(value, Volume | Tensor) and math.prod(shape_of(value)) != 1


def _lifted(lowering: Lowering, node: fx.Node, value: Any, at: int) -> Any:
    """A constant tensor as a value of rank 5; other values unchanged."""
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0:
        return value
    n, c, t, h, w = [1] * (5 - value.dim()) + list(value.shape)
    flat = value.reshape(n, c, t, h, w)
    if (h == 1) != (w == 1):
        h, w = shape(node)[3:]
        flat = flat.expand(n, c, t, h, w)
    flat = flat.reshape(n, c, t, h * w)
    store = lowering.writer.weight if isinstance(value, nn.Parameter) else lowering.writer.constant
    return Volume(lowering.writer, (n, c, t, h, w), "plane", store(flat, name=f"{node.name}_operand{at}"))


def _shared_form(volumes: list[Volume], wanted: Form | None, *, over_clips: bool) -> Form | None:
    """The form in which the operands broadcast, at the least conversion cost; None if there is none.

    Frames of different clips share one axis, so an operand that broadcasts over clips (a constant) needs the plane.
    The choice must not depend on the number of clips.
    """
    possible: list[Form] = []
    if len({volume.shape[2] for volume in volumes}) == 1 and not over_clips:
        possible.append("frames")
    image_sizes = {volume.shape[3:] for volume in volumes}
    if len(image_sizes - {(1, 1)}) <= 1:
        possible.append("plane")

    def cost(form: Form) -> tuple[int, bool]:
        missing = sum(volume.size for volume in volumes if form not in volume.forms)
        return missing, form != wanted

    return min(possible, key=cost, default=None)


def _merged(lowering: Lowering, node: fx.Node, operands: list[Any], kwargs: dict[str, Any]) -> Value:
    """Any rank: axes with the same broadcasting operands are merged.

    If more than four are left, the smallest operand is expanded.
    """
    writer, full = lowering.writer, shape(node)
    values = dict(enumerate(operands))
    while True:
        given = {
            at: value for at, value in values.items() if isinstance(value, fx.Node | Volume | Block | Tensor)
        }
        shapes = {
            at: (1,) * (len(full) - len(shape_of(value))) + shape_of(value) for at, value in given.items()
        }
        marks = [
            tuple(
                shapes[at][axis] == 1 if isinstance(given[at], Tensor) else shapes[at][axis] != size
                for at in given
            )
            for axis, size in enumerate(full)
        ]
        groups = runs(marks)
        if len(groups) <= RANK:
            break
        smallest = min((at for at in given if shapes[at] != full), key=lambda at: math.prod(shapes[at]))
        value = given[smallest]
        values[smallest] = (
            value.expand(full)
            if isinstance(value, Tensor)
            else expanded(lowering, value, full, name=f"{node.name}_full{smallest}")
        )
    written = [_written(lowering, node, at, value, shapes, groups) for at, value in values.items()]
    y = writer.call(node.target, written, name=node.name, kwargs=kwargs)
    return held(writer, y, full, name=f"{node.name}_shape")


def _written(
    lowering: Lowering,
    node: fx.Node,
    at: int,
    value: Any,
    shapes: dict[int, tuple[int, ...]],
    groups: list[list[int]],
) -> Any:
    if at not in shapes:
        return value
    if isinstance(value, Tensor):
        store = lowering.writer.weight if isinstance(value, nn.Parameter) else lowering.writer.constant
        return store(value.reshape(merged(shapes[at], groups)), name=f"{node.name}_operand{at}")
    return lowering.writer.reshape(
        row_major(value), merged(shapes[at], groups), name=f"{node.name}_merged{at}"
    )

"""Passes over convolutions without arithmetic: copies of frames, and normalisation of the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import (
    bypass,
    constant,
    initializer,
    is_per_tensor,
    nodes,
    parameters,
    readers,
    same_parameters,
    source,
    static_shape,
    take_place,
)

if TYPE_CHECKING:
    import onnx_ir as ir

_FEW_CHANNELS = 4
"""Integer kernels work on 16 channels at a time; up to this many, float arithmetic is several times faster."""

_Tap = tuple[int, int]


def move_frames_by_padding(model: ir.Model) -> int:
    """Moves frames in time without arithmetic.

    Given: DQ -> Conv with one-hot taps of weight 1 and no bias, depthwise or gathering several taps as channels
    -> Q with the scale and zero point of the DQ.
    Result: Slice of the frames that a tap reads and Pad with the zero point, on the integers; a Concat if
    there are several taps.
    """
    import onnx_ir as ir

    count = 0
    for conv in nodes(model, "Conv"):
        quantize = _only_quantize(conv)
        dequantize = source(conv).producer()
        taps = _one_hot_taps(conv)
        if quantize is None or dequantize is None or taps is None or len(conv.inputs) > 2:
            continue
        if dequantize.op_type != "DequantizeLinear" or not same_parameters(dequantize, quantize):
            continue
        integers = source(dequantize)
        reads = [[_read(conv, integers, axis=axis, tap=tap[axis]) for axis in (0, 1)] for tap in taps]
        known = [[read for read in both if read is not None] for both in reads]
        if any(len(both) < 2 for both in known):
            continue
        parts = [
            _write_copy(
                model, conv, integers, reads=both, zero=dequantize.inputs[2], name=f"{conv.name}_tap{index}"
            )
            for index, both in enumerate(known)
        ]
        if len(parts) == 1:
            bypass(model, quantize, parts[0])
        else:
            take_place(model, quantize, ir.node("Concat", parts, {"axis": 1}, name=f"{conv.name}_taps"))
        count += 1
    return count


def normalise_in_float(model: ir.Model) -> int:
    """Normalises the few channels of a clip in float, which is faster.

    Given: DQ -> depthwise 1x1 Conv of up to 4 channels, positive weights -> Q.
    Result: DQ with a scale per channel, that of the values x weight -> Add of the bias -> Q.
    """
    import onnx_ir as ir

    count = 0
    for conv in nodes(model, "Conv"):
        dequantize = source(conv).producer()
        weights = _weights(conv)
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or weights is None:
            continue
        channels = weights.shape[0]
        if weights.shape[1:] != (1, 1, 1) or conv.attributes.get_int("group", 1) != channels:
            continue
        if channels > _FEW_CHANNELS or np.any(weights <= 0) or _only_quantize(conv) is None:
            continue
        if static_shape(source(conv)) != static_shape(conv.outputs[0]):
            continue
        bias = constant(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros(channels, np.float32)
        if bias is None or not is_per_tensor(dequantize):
            continue
        scale, zero_point = parameters(dequantize)
        name = conv.name
        scales = initializer(model, f"{name}_scale", (scale * weights.reshape(-1)).astype(np.float32))
        zero_points = initializer(model, f"{name}_zero_point", np.full(channels, zero_point))
        scaled = ir.node(
            "DequantizeLinear",
            [source(dequantize), scales, zero_points],
            {"axis": 1},
            name=f"{name}_scaled",
        )
        offset = initializer(model, f"{name}_offset", bias.reshape(1, channels, 1, 1))
        add = ir.node("Add", [scaled.outputs[0], offset], name=name)
        scaled.outputs[0].shape, scaled.outputs[0].type = conv.outputs[0].shape, conv.outputs[0].type
        model.graph.insert_before(conv, scaled)
        take_place(model, conv, add)
        count += 1
    return count


@dataclass(frozen=True)
class _Read:
    """Positions of an axis that one tap reads: `first` to `last` in steps, with zeros around."""

    first: int
    last: int
    step: int
    zeros_before: int
    zeros_after: int


def _read(conv: ir.Node, integers: ir.Value, *, axis: int, tap: int) -> _Read | None:
    """What a tap of the convolution reads along axis 0 (rows) or 1 (columns); `None` if only padding."""
    step = conv.attributes.get_ints("strides", (1, 1))[axis]
    offset = (
        tap * conv.attributes.get_ints("dilations", (1, 1))[axis]
        - conv.attributes.get_ints("pads", (0,) * 4)[axis]
    )
    size, wanted = static_shape(integers)[2 + axis], static_shape(conv.outputs[0])[2 + axis]
    inside = [position for position in range(wanted) if 0 <= position * step + offset < size]
    if not inside:
        return None
    first, last = (position * step + offset for position in (inside[0], inside[-1]))
    return _Read(first, last, step, inside[0], wanted - 1 - inside[-1])


def _write_copy(
    model: ir.Model,
    conv: ir.Node,
    integers: ir.Value,
    *,
    reads: list[_Read],
    zero: ir.Value | None,
    name: str,
) -> ir.Value:
    """Writes the necessary Slice and Pad nodes in front of the convolution.

    Crops first: a Pad with negative amounts would take eight times as long.
    """
    import onnx_ir as ir

    copy = integers
    shape = static_shape(integers)
    sizes = [len(range(read.first, read.last + 1, read.step)) for read in reads]
    if any(
        read.step > 1 or read.last - read.first + 1 < size
        for read, size in zip(reads, shape[2:], strict=True)
    ):
        bounds = {
            "starts": [read.first for read in reads],
            "ends": [read.last + 1 for read in reads],
            "axes": [2, 3],
            "steps": [read.step for read in reads],
        }
        slices = [initializer(model, f"{name}_{key}", np.array(value)) for key, value in bounds.items()]
        crop = ir.node("Slice", [copy, *slices], name=f"{name}_crop")
        crop.outputs[0].shape, crop.outputs[0].type = ir.Shape((*shape[:2], *sizes)), integers.type
        model.graph.insert_before(conv, crop)
        copy = crop.outputs[0]
    before, after = [read.zeros_before for read in reads], [read.zeros_after for read in reads]
    if any(before + after):
        amounts = initializer(model, f"{name}_amounts", np.array([0, 0, *before, 0, 0, *after]))
        pad = ir.node("Pad", [copy, amounts, zero], name=f"{name}_pad")
        padded = (b + size + a for b, size, a in zip(before, sizes, after, strict=True))
        pad.outputs[0].shape, pad.outputs[0].type = ir.Shape((*shape[:2], *padded)), integers.type
        model.graph.insert_before(conv, pad)
        copy = pad.outputs[0]
    return copy


def _one_hot_taps(conv: ir.Node) -> list[_Tap] | None:
    """The tap of each block of output channels that copies all input channels in order; `None` if a block
    differs."""
    weights = _weights(conv)
    if weights is None or weights.ndim != 4:
        return None
    channels = static_shape(source(conv))[1]
    group = conv.attributes.get_int("group", 1)
    if group not in (1, channels) or weights.shape[0] % channels:
        return None
    taps = []
    for block in np.split(weights, weights.shape[0] // channels):
        ones = np.argwhere(np.abs(block - 1) < 1e-5)
        inputs = np.arange(channels) if group == 1 else np.zeros(channels, int)
        if np.count_nonzero(block) != channels or ones.shape[0] != channels:
            return None
        if not np.array_equal(ones[:, 1], inputs) or np.any(ones[:, 2:] != ones[0, 2:]):
            return None
        taps.append((int(ones[0, 2]), int(ones[0, 3])))
    return taps if group == 1 or len(taps) == 1 else None


def _weights(conv: ir.Node) -> np.ndarray | None:
    """The dequantized weights of a Conv, `None` if they are not an int8 constant."""
    dequantize = conv.inputs[1].producer() if conv.inputs[1] is not None else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    integers = constant(dequantize.inputs[0])
    scale, zero_point = parameters(dequantize)
    if integers is None or np.any(zero_point):
        return None
    per_channel = scale.ndim == 1 and dequantize.attributes.get_int("axis", 1) == 0
    if scale.ndim and not per_channel:
        return None
    return integers * (scale.reshape(-1, *[1] * (integers.ndim - 1)) if per_channel else scale)


def _only_quantize(conv: ir.Node) -> ir.Node | None:
    """The per-tensor Q that is the only consumer of a Conv, if there is one."""
    reading = readers(conv.outputs[0])
    if len(reading) != 1 or reading[0].op_type != "QuantizeLinear" or not is_per_tensor(reading[0]):
        return None
    return reading[0]

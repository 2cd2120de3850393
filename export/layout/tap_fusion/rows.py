"""Writes a depthwise convolution over space and time as one over images that interleave the rows of several
frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from export.layout.stream_order.rounding import DEQUANTIZE, READ_WEIGHT
from export.layout.tap_fusion.taps import TapSum
from export.lower.volume import HELD

aten = torch.ops.aten

LARGEST = 127
"""Largest integer of weights."""


def write(module: fx.GraphModule, found: TapSum, *, name: str) -> None:
    """Replaces the sum with one convolution, in place; `name` is new in the module.

    An image has row 0 of all input frames of an output, then row 1 of each, and so on: a kernel with a multiple of
    the rows, and the same multiple as stride, spans them all. Rows are moved as int8, and a row of zeros represents
    frames before the first and after the last.
    """
    graph = module.graph
    form, (_, channels, frames, height, width) = found.total.meta[HELD]
    taps = found.taps
    integers: Any = found.source.args[0]
    _, (_, _, seen, rows, columns) = found.source.meta[HELD]
    zero_point = found.source.args[2]
    with graph.inserting_before(found.total):

        def call(target: Any, *args: Any) -> fx.Node:
            return graph.call_function(target, args)

        def constant(tensor: Tensor, what: str) -> fx.Node:
            module.register_buffer(f"{name}_{what}", tensor)
            return graph.get_attr(f"{name}_{what}")

        x = call(aten.permute.default, integers, [0, 2, 3, 1])
        x = call(aten.reshape.default, x, [seen * rows, columns * channels])
        if any(None in tap.reads for tap in taps):
            x = call(aten.constant_pad_nd.default, x, [0, 0, 0, 1], zero_point)
        x = call(aten.index_select.default, x, 0, constant(_rows(found, seen, rows), "rows"))
        x = call(aten.reshape.default, x, [frames, rows * len(taps), columns, channels])
        x = call(aten.permute.default, x, [0, 3, 1, 2])
        x = call(DEQUANTIZE, x, *found.source.args[1:])
        numbers, scale = _rounded(_kernel(found))
        weight = call(
            READ_WEIGHT,
            constant(numbers, "weight"),
            constant(scale, "scale"),
            constant(torch.zeros(channels, dtype=torch.int64), "zero_point"),
            0,
            -LARGEST,
            LARGEST,
            torch.int8,
        )
        bias = None if found.bias is None else constant(found.bias, "bias")
        stride, padding = taps[0].stride, taps[0].padding
        geometry = (
            [len(taps) * stride[0], stride[1]],
            [len(taps) * padding[0], padding[1]],
            [1, 1],
            channels,
        )
        y = call(aten.conv2d.default, x, weight, bias, *geometry)
    found.total.replace_all_uses_with(y)
    if form == "plane":
        readers = list(found.quantize.users)
        with graph.inserting_after(found.quantize):
            row = graph.call_function(
                aten.reshape.default, (found.quantize, [1, frames, channels, height * width])
            )
        with graph.inserting_after(row):
            plane = graph.call_function(aten.permute.default, (row, [0, 2, 1, 3]))
        for reader in readers:
            reader.replace_input_with(found.quantize, plane)


def _rows(found: TapSum, frames: int, rows: int) -> Tensor:
    """For each row of the images the index of its source row; the index after the last is a row of zeros."""
    firsts = [[frames * rows if at is None else at * rows for at in tap.reads] for tap in found.taps]
    steps = [[0 if at is None else 1 for at in tap.reads] for tap in found.taps]
    first, step = (torch.tensor(one).T[:, None, :] for one in (firsts, steps))
    return (first + step * torch.arange(rows)[None, :, None]).flatten()


def _kernel(found: TapSum) -> Tensor:
    """`C 1 kH*k kW`: rows of the k taps interleaved."""
    kernel = torch.stack([tap.kernel for tap in found.taps], 3)
    channels, _, rows, taps, columns = kernel.shape
    return kernel.reshape(channels, 1, rows * taps, columns)


def _rounded(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers and their scale for each channel."""
    scale = kernel.abs().amax((1, 2, 3)).clamp_min(torch.finfo(torch.float32).eps) / LARGEST
    return (kernel / scale[:, None, None, None]).round().to(torch.int8), scale

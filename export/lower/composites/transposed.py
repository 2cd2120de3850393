"""Transposed convolution as an ordinary one whose extra channels are then interleaved with the positions.

With stride s the outputs s * j, s * j + 1, ... use different taps of the kernel and the same inputs: each of these
s phases is a convolution of stride 1. All are computed at once, as channels, and interleaved (the sub-pixel view of
deconvolution, arXiv:1609.07009). No backend needs a separate kernel, and int8 works as in any convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _Phases:
    """One axis: input length, kernel taps, stride, padding, dilation; output length.

    `skipped` extra outputs are computed at the start and dropped, which can make the convolution shorter.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    outputs: int
    skipped: int = 0

    @property
    def taps(self) -> dict[tuple[int, int], int]:
        """(phase, input position relative to the output's) -> tap of the transposed kernel."""
        found = {}
        for phase in range(self.stride):
            for tap in range(self.kernel):
                distance = phase - self.skipped + self.padding - tap * self.dilation
                if distance % self.stride == 0:
                    found[phase, distance // self.stride] = tap
        return found

    @property
    def first(self) -> int:
        """The earliest input position that a phase reads, relative to the output's."""
        return min(offset for _, offset in self.taps)

    @property
    def length(self) -> int:
        """Number of taps of the ordinary convolution."""
        return max(offset for _, offset in self.taps) - self.first + 1

    @property
    def count(self) -> int:
        """Positions of the ordinary convolution; each holds `stride` outputs."""
        return -(-(self.outputs + self.skipped) // self.stride)

    @property
    def around(self) -> tuple[int, int]:
        """Zeros before and after the input; negative if its ends are never read."""
        return -self.first, self.count - 1 + self.first + self.length - self.size


def transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """`conv_transpose1d`, `2d` and `3d` with weights `I O/groups k...`."""
    dims = weight.dim() - 2
    axes = [
        _axis(
            x.shape[2 + i],
            weight.shape[2 + i],
            *(_at(v, i) for v in (stride, padding, output_padding, dilation)),
        )
        for i in range(dims)
    ]
    kernel = _ordinary(weight, axes, groups)
    phases = math.prod(axis.stride for axis in axes)
    bias = (
        None
        if bias is None
        else bias.reshape(groups, 1, -1, 1)
        .expand(groups, axes[0].stride, weight.shape[1], phases // axes[0].stride)
        .flatten()
    )
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    around = [amount for axis in reversed(axes) for amount in axis.around]
    if all(before == after >= 0 for before, after in (axis.around for axis in axes)):
        y = convolve(x, kernel, bias, padding=[axis.around[0] for axis in axes], groups=groups)
    else:
        y = convolve(F.pad(x, around), kernel, bias, groups=groups)
    y = _interleaved(y, axes, groups)
    for i, axis in enumerate(axes):
        if y.shape[2 + i] != axis.outputs:
            y = y.narrow(2 + i, axis.skipped, axis.outputs)
    return y


def _at(value: int | Sequence[int], index: int) -> int:
    if isinstance(value, int):
        return value
    return value[index] if len(value) > 1 else value[0]


def _axis(size: int, kernel: int, stride: int, padding: int, extra: int, dilation: int) -> _Phases:
    outputs = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
    choices = [
        _Phases(
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            outputs=outputs,
            skipped=n,
        )
        for n in range(stride)
    ]
    return min(choices, key=lambda axis: axis.length * axis.count)


def _ordinary(weight: Tensor, axes: Sequence[_Phases], groups: int) -> Tensor:
    """Weights `O' I/groups k'...`; O' indexes groups, phases of the first axis, channels, phases of the others."""
    channels_in, channels_out = weight.shape[0] // groups, weight.shape[1]
    kernel = weight.reshape(groups, channels_in, channels_out, *weight.shape[2:])
    for i, axis in enumerate(axes):
        at = 3 + 2 * i
        nothing = torch.zeros([1 if a == at else size for a, size in enumerate(kernel.shape)])
        phases = []
        for phase in range(axis.stride):
            taps = [axis.taps.get((phase, axis.first + offset)) for offset in range(axis.length)]
            phases.append(torch.cat([nothing if t is None else kernel.narrow(at, t, 1) for t in taps], at))
        kernel = torch.stack(phases, at)
    # groups I O s k s k s k -> groups s O s s I k k k
    phase_axes = [3 + 2 * i for i in range(len(axes))]
    kernel = kernel.permute([0, phase_axes[0], 2, *phase_axes[1:], 1, *(axis + 1 for axis in phase_axes)])
    return kernel.reshape(-1, channels_in, *(axis.length for axis in axes))


def _interleaved(y: Tensor, axes: Sequence[_Phases], groups: int) -> Tensor:
    """Interleaves phases, which are channels, with the positions of their axes."""
    first = axes[0].stride
    if groups > 1 and first > 1:
        y = y.reshape(y.shape[0], groups, first, -1, *y.shape[2:]).transpose(1, 2).reshape(y.shape)
    if first > 1:
        # Positions, phases, channels: no number moves if time is the first axis and part of the batch.
        y = y.transpose(1, 2)
        y = y.reshape(y.shape[0], y.shape[1] * first, y.shape[2] // first, *y.shape[3:]).transpose(1, 2)
    for i, axis in enumerate(axes[1:], 1):
        later = math.prod(other.stride for other in axes[i + 1 :])
        if axis.stride > 1:
            # N, channels, phases of this axis, phases of later ones, positions -> phases after their positions
            parts = y.reshape(y.shape[0], -1, axis.stride, later, *y.shape[2:])
            order = [a for a in range(parts.dim()) if a != 2]
            order.insert(4 + i, 2)
            shape = [y.shape[0], parts.shape[1] * later, *y.shape[2:]]
            shape[2 + i] *= axis.stride
            y = parts.permute(order).reshape(shape)
    return y

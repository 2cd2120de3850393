"""The geometry of a convolution or a pooling along one axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Kernel taps, stride, dilation, and zero padding `before` and `after` the data."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def is_pointwise(self) -> bool:
        """Whether output position `i` depends only on input position `i`, one to one."""
        return self.kernel == 1 and self.stride == 1 and self.before == self.after == 0

    def outputs(self, size: int) -> int:
        """Number of output positions."""
        return (size + self.before + self.after - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def useful_taps(self, size: int) -> list[int]:
        """The taps that read data at least once; the others only read padding."""
        positions = range(self.outputs(size))
        return [
            tap
            for tap in range(self.kernel)
            if any(0 <= p * self.stride + self.offset(tap) < size for p in positions)
        ]

    def trimmed(self, weight: Tensor, dim: int, size: int) -> tuple[Tensor, Axis]:
        """The same axis without the outer taps of `weight` (along `dim`) that only read padding."""
        useful = self.useful_taps(size)
        first = min(useful[0], self.before // self.dilation) if useful else 0
        behind = min(self.kernel - 1 - useful[-1], self.after // self.dilation) if useful else 0
        if first == behind == 0:
            return weight, self
        kernel = self.kernel - first - behind
        before, after = self.before - first * self.dilation, self.after - behind * self.dilation
        return weight.narrow(dim, first, kernel), replace(self, kernel=kernel, before=before, after=after)

    def offset(self, tap: int) -> int:
        """Input position that `tap` reads for output position 0."""
        return tap * self.dilation - self.before

    def is_identity(self, tap: int, size: int) -> bool:
        """Whether `tap` on its own would copy the axis unchanged."""
        return self.stride == 1 and self.offset(tap) == 0 and self.outputs(size) == size

    def reads_data_alone(self, tap: int, size: int) -> bool:
        """Whether `tap` never reads padding."""
        first, last = self.offset(tap), self.offset(tap) + (self.outputs(size) - 1) * self.stride
        return first >= 0 and last < size

    def symmetric(self, weight: Tensor, dim: int) -> tuple[Tensor, Axis]:
        """The same axis with equal padding on both sides: `weight` grows by taps that are zero along `dim`."""
        if self.before == self.after:
            return weight, self
        padding = max(self.before, self.after)
        front, back = padding - self.before, padding - self.after
        axis = self
        if front % self.dilation or back % self.dilation:
            weight, axis = self._without_dilation(weight, dim)
        front, back = front // axis.dilation, back // axis.dilation

        def zeros(count: int) -> Tensor:
            return weight.new_zeros([count if d == dim else size for d, size in enumerate(weight.shape)])

        longer = torch.cat([zeros(front), weight, zeros(back)], dim)
        return longer, Axis(
            kernel=axis.kernel + front + back,
            stride=axis.stride,
            dilation=axis.dilation,
            before=padding,
            after=padding,
        )

    def _without_dilation(self, weight: Tensor, dim: int) -> tuple[Tensor, Axis]:
        span = self.dilation * (self.kernel - 1) + 1
        spread = weight.new_zeros([span if d == dim else size for d, size in enumerate(weight.shape)])
        spread.index_copy_(dim, torch.arange(0, span, self.dilation), weight)
        return spread, Axis(kernel=span, stride=self.stride, before=self.before, after=self.after)


def triple(value: int | list[int]) -> tuple[int, int, int]:
    """Three numbers for T, H, W from one number, a list of one, or a list of three, as in ATen."""
    numbers = [value] if isinstance(value, int) else list(value)
    t, h, w = numbers * 3 if len(numbers) == 1 else numbers
    return t, h, w


def pair(value: int | list[int]) -> tuple[int, int]:
    """Two numbers for H and W from one number, a list of one, or a list of two, as in ATen."""
    numbers = [value] if isinstance(value, int) else list(value)
    h, w = numbers * 2 if len(numbers) == 1 else numbers
    return h, w

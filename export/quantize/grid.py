"""The values that an integer weight can have: symmetric integers times scales, per output channel or per group.

A group is a number of whole input channels of one output channel. Scales of groups have the eight significant bits
of bfloat16 and lie in the range of float16, so that both represent them exactly: XNNPACK stores them in the one,
Core ML in the other, and all files have the same weights at two bytes per scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LIMITS = {8: (-127, 127), 4: (-8, 7)}
"""Largest integer of a weight, by bits; -8 is never used, so that rounding is symmetric."""

LEAST_GROUP_SCALE = 2.0**-17
"""Smallest scale of a group: below it, float16 has less than eight significant bits."""

LEAST_CHANNEL = 64 * LEAST_GROUP_SCALE
"""Smallest largest weight of an output channel with groups: rounding to zero then costs 1 % of it at most."""

LEAST_GROUP, MOST_GROUP = 8, 65_536
"""Limits of the number of weights of a group."""

_SHRINKS = torch.linspace(1.0, 0.5, 26)
"""Fractions of a channel's largest weight that are tried as its largest integer."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values that an integer weight can have."""

    scale: Tensor
    """One scale per output channel (axis 0), or per output channel and group `(O, groups)`."""
    limit: int
    """Largest integer: 127 or 7."""

    @property
    def bits(self) -> int:
        """Bits of an integer."""
        return next(bits for bits, (_, largest) in LIMITS.items() if largest == self.limit)

    @property
    def has_groups(self) -> bool:
        """Whether the input channels of an output channel have several scales."""
        return self.scale.dim() == 2

    def stored_bytes(self, weight: Tensor) -> float:
        """Bytes of the integers of `weight`, and of the scales: two for that of a group, four for others."""
        return weight.numel() * self.bits / 8 + self.scale.numel() * (2 if self.has_groups else 4)

    def steps(self, weight: Tensor) -> Tensor:
        """The scales in a shape that broadcasts to `weight` `(O, I, *kernel)`."""
        scale = self.scale
        if self.has_groups:
            scale = scale.repeat_interleave(weight.shape[1] // scale.shape[1], dim=1)
        return scale.reshape(*scale.shape, *[1] * (weight.dim() - scale.dim()))

    def integers(self, weight: Tensor) -> Tensor:
        """The nearest integer for every element of `weight`, as float."""
        return (weight / self.steps(weight)).round().clamp(-self.limit, self.limit)

    def rounded(self, weight: Tensor) -> Tensor:
        """The nearest value for every element of `weight`."""
        return self.integers(weight) * self.steps(weight)


def widest_grid(weight: Tensor, *, limit: int) -> Grid:
    """The grid that maps the largest weight of each output channel to `limit`."""
    return Grid(scale=_widest(weight, limit), limit=limit)


def grid_of_least_error(weight: Tensor, *, limit: int, group_size: int | None = None) -> Grid:
    """The grid with the least squared error of rounding, with a scale per output channel, or per group.

    `group_size` is the largest number of weights of a group. Layers that `channels_per_group` cannot divide, those
    with a single group, and those with an output channel below `LEAST_CHANNEL` have one scale per output channel.
    """
    channels = None if group_size is None else channels_per_group(tuple(weight.shape), group_size=group_size)
    extremes = weight.flatten(1).abs().amax(1)
    if channels is None or bool(((extremes > 0) & (extremes < LEAST_CHANNEL)).any()):
        return Grid(scale=scale_of_least_error(weight, limit=limit), limit=limit)
    rows = weight.reshape(weight.shape[0] * (weight.shape[1] // channels), -1)
    scale = scale_of_least_error(rows, limit=limit, in_16_bits=True)
    return Grid(scale=scale.reshape(weight.shape[0], -1), limit=limit)


def channels_per_group(shape: tuple[int, ...], *, group_size: int) -> int | None:
    """The number of input channels that share a scale in a weight `(O, I, *kernel)`; None if all of them do.

    It divides the number of input channels, and gives groups of `group_size` weights, or of as many as possible
    below that and at least half.

    >>> channels_per_group((8, 64), group_size=32), channels_per_group((8, 48), group_size=32)
    (32, 24)
    >>> channels_per_group((8, 64, 3, 3), group_size=32)
    2
    """
    channels, taps = shape[1], math.prod(shape[2:])
    if channels * taps <= group_size:
        return None
    divisors = (count for count in range(1, channels + 1) if channels % count == 0)
    fitting = [count for count in divisors if group_size <= 2 * count * taps <= 2 * group_size]
    return max(fitting, default=None)


def check_group_size(group_size: int | None, schemes: Sequence[str]) -> None:
    """Raises ValueError for a size that is not allowed, and if none of the schemes has groups."""
    if group_size is None:
        return
    if not LEAST_GROUP <= group_size <= MOST_GROUP:
        raise ValueError(
            f"group_size is {group_size}; allowed: {LEAST_GROUP} to {MOST_GROUP} weights of an output channel"
        )
    if "w4" not in schemes:
        raise ValueError(
            f"group_size is for scheme w4 only; given: {', '.join(schemes)}; add w4, or omit group_size"
        )


def group_notes(
    grids: Mapping[str, Grid], weights: Mapping[str, Tensor], *, group_size: int | None
) -> tuple[str, ...]:
    """What groups of `group_size` weights give: the layers that have them, those that do not, and the bytes."""
    if group_size is None:
        return ()
    int4 = {name: grid for name, grid in grids.items() if grid.bits == 4}
    whole = [n for n, grid in int4.items() if not grid.has_groups and weights[n][0].numel() > group_size]
    grouped = sum(grid.has_groups for grid in int4.values())
    stored = sum(grid.stored_bytes(weights[name]) for name, grid in grids.items())
    count = sum(weights[name].numel() for name in grids)
    text = f"group_size {group_size}: {grouped} of {len(int4)} int4 weights have a scale per group; "
    text += f"all weights take {stored / count:.3f} bytes each, including scales"
    if not whole:
        return (text,)
    least = math.ceil(group_size / 2)
    return text, (
        f"{', '.join(whole)}: one scale per output channel, because no group of whole input channels has {least} "
        f"to {group_size} weights and divides them, or weights are below {LEAST_CHANNEL:.1g}"
    )


def scale_of_least_error(weight: Tensor, *, limit: int, in_16_bits: bool = False) -> Tensor:
    """The scale of each output channel (axis 0) with the least squared error of rounding to `-limit..limit`.

    With `in_16_bits` it is a value that bfloat16 and float16 represent.
    """
    widest = _widest(weight, limit)
    best, least = widest, torch.full_like(widest, torch.inf)
    for shrink in _SHRINKS:
        scale = widest * shrink
        if in_16_bits:
            scale = scale.clamp(min=LEAST_GROUP_SCALE).bfloat16().float()
        error = (weight - Grid(scale=scale, limit=limit).rounded(weight)).square().flatten(1).sum(1)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _widest(weight: Tensor, limit: int) -> Tensor:
    """Scales that map the largest weight of each channel to `limit`; 1 for a channel of zeros."""
    extremes = weight.flatten(1).abs().amax(1)
    return torch.where(extremes > 0, extremes / limit, 1.0)

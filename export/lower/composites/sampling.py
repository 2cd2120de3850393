"""Images sampled at computed positions: `grid_sample` by gathers."""

from __future__ import annotations

import torch
from torch import Tensor

aten = torch.ops.aten

BILINEAR, NEAREST = 0, 1
ZEROS, BORDER, REFLECTION = 0, 1, 2
"""Numbers of the modes in the schema of `grid_sampler_2d`."""


def grid_sample(x: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool) -> Tensor:
    """`grid_sample` of images `N C H W` at the positions `N h w 2` (x, y in -1..1).

    Four gathers of pixels, weighted (Jaderberg et al., arXiv:1506.02025, section 3.3), or one.
    """
    if mode not in (BILINEAR, NEAREST):
        return NotImplemented
    n, channels, height, width = x.shape
    columns, rows = (
        _positions(grid[..., axis], size, padding, align_corners) for axis, size in ((0, width), (1, height))
    )
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    if mode == NEAREST:
        y = _pixels(pixels, n, (height, width), rows.round(), columns.round(), padding)
    else:
        top, left = rows.floor(), columns.floor()
        down, right = (rows - top).unsqueeze(-1), (columns - left).unsqueeze(-1)
        corners = [
            (top, left, (1 - down) * (1 - right)),
            (top, left + 1, (1 - down) * right),
            (top + 1, left, down * (1 - right)),
            (top + 1, left + 1, down * right),
        ]
        y = sum(
            (_pixels(pixels, n, (height, width), r, c, padding) * share for r, c, share in corners[1:]),
            _pixels(pixels, n, (height, width), *corners[0][:2], padding) * corners[0][2],
        )
    return y.permute(0, 3, 1, 2)


def _positions(grid: Tensor, size: int, padding: int, align_corners: bool) -> Tensor:
    """Pixel coordinates along an axis of `size` pixels for coordinates in -1..1."""
    if align_corners:
        place, low, high = (grid + 1) * ((size - 1) / 2), 0.0, size - 1.0
    else:
        place, low, high = ((grid + 1) * size - 1) * 0.5, -0.5, size - 0.5
    if padding == REFLECTION:
        span = high - low
        if span == 0:
            return torch.zeros_like(place)
        away = (place - low).abs()
        rest = aten.remainder.Tensor(away, torch.full((), 2 * span, dtype=away.dtype))
        place = torch.minimum(rest, 2 * span - rest) + low
    return place if padding == ZEROS else place.clamp(0, size - 1)


def _pixels(
    pixels: Tensor, n: int, size: tuple[int, int], rows: Tensor, columns: Tensor, padding: int
) -> Tensor:
    """The pixels of `n` images at integer rows and columns; outside, 0 or the border pixels."""
    height, width = size
    r, c = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    place = (r * width + c).to(torch.int64)
    if n > 1:
        place = place + torch.arange(n).reshape(n, 1, 1) * (height * width)
    found = aten.index_select(pixels, 0, place.reshape(-1)).reshape([*place.shape, pixels.shape[1]])
    if padding != ZEROS:
        return found
    inside = torch.logical_and(r == rows, c == columns).to(found.dtype)
    return found * inside.unsqueeze(-1)

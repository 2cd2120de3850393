"""Linear maps along one axis with fixed weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mixed(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Weighted sums of `x` along `axis`, with weights from the rows of `matrix` (new, old).

    A pointwise convolution over that axis as channels, which every runtime accelerates.
    """
    axis %= x.dim()
    before, size = math.prod(x.shape[:axis]), x.shape[axis]
    behind = math.prod(x.shape[axis + 1 :])
    shape = [len(matrix) if a == axis else length for a, length in enumerate(x.shape)]
    if behind == 1:
        return torch.nn.functional.linear(x.reshape(before, size), matrix).reshape(shape)
    y = torch.nn.functional.conv2d(x.reshape(before, size, behind, 1), matrix[:, :, None, None])
    return y.reshape(shape)

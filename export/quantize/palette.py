"""Palettes: the weights of a layer as indices into a table of 16 values, the scheme `p4` of Core ML.

Source: Han et al. 2016, "Deep Compression", section 3: k-means over the weights of each layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

VALUES = 16
"""Values of a palette: 4 bits per weight."""

LEAST = 2048
"""Weights with more elements than this get a palette; smaller ones stay float, as in coremltools."""

_ROUNDS = 50


def palettized(weight: Tensor) -> Tensor:
    """`weight` with each element replaced by the nearest of the 16 values with the least squared error (k-means).

    Clusters start from equally filled ranges; the result is a local optimum, equal in every call.
    """
    values = weight.detach().flatten().double()
    ordered = values.sort().values
    positions = ((torch.arange(VALUES) + 0.5) / VALUES * len(ordered)).long()
    centres = ordered[positions]
    for _ in range(_ROUNDS):
        cluster = _nearest(values, centres)
        counts = torch.bincount(cluster, minlength=VALUES)
        sums = torch.bincount(cluster, weights=values, minlength=VALUES)
        moved = torch.where(counts > 0, sums / counts.clamp_min(1), centres).sort().values
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres[_nearest(values, centres)].to(weight.dtype).reshape(weight.shape)


def _nearest(values: Tensor, centres: Tensor) -> Tensor:
    """The index of the nearest of the ordered `centres`."""
    return torch.bucketize(values, (centres[1:] + centres[:-1]) / 2)

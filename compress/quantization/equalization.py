"""Cross-layer equalization: scales the channels between two layers so that both have equal weight ranges.

It is exact; layers with ReLU6, hard-swish or SiLU between them stay. Source: Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.quantize.channel_pairs import ChannelPair, channel_pairs

_MOST_ROUNDS = 20
"""Chains of layers are equalized in rounds, each of which moves ranges by one layer."""

_CLOSE = 1e-3
"""Rounds end when no channel is scaled by more than this."""


@torch.no_grad()
def equalize(model: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Equalizes the weights of `model` in place; returns the number of pairs of layers. Outputs stay the same."""
    pairs = list(channel_pairs(model, capture(model, example), clamps=False))
    for _ in range(_MOST_ROUNDS):
        largest = 0.0
        for pair in pairs:
            factors = _factors(pair)
            pair.scale(factors)
            largest = max(largest, float(factors.log().abs().max()))
        if largest < _CLOSE:
            break
    return len(pairs)


def _factors(pair: ChannelPair) -> Tensor:
    """What each channel is divided by: the root of the quotient of both ranges, 1 where a range is zero."""
    before, after = pair.weights_before(), pair.weights_after().flatten()
    return torch.where((before > 0) & (after > 0), (before / after).sqrt(), 1.0)

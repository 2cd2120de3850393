"""Values for layers that a published network lacks, with which the network computes the same without training.

A BatchNorm is neutral in eval mode, whatever its mean and variance are, if its weight and bias undo them. In
training mode it is nearly neutral if they are also those of its input, computed here from the BatchNorm before.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_EPS = 1e-5
"""Of the BatchNorms of `models.layers.conv_bn`."""
_UNBOUNDED = 1e9
"""Upper end of a ReLU without limit."""


def centre_tap(frame: int, own: Tensor) -> Tensor:
    """A depthwise kernel over time, `C 1 T 1 1`, that selects the frame at position `frame` of its `T`."""
    kernel = torch.zeros_like(own)
    kernel[:, :, frame] = 1
    return kernel


def neutral_norm(kind: str, mean: Tensor, variance: Tensor) -> Tensor:
    """The tensor `kind` of a neutral BatchNorm for inputs of this mean and variance per channel."""
    tensors = {
        "weight": (variance + _EPS).sqrt(),
        "bias": mean,
        "running_mean": mean,
        "running_var": variance,
    }
    return tensors[kind]


def after_norm(given: Mapping[str, Tensor], norm: str, *, high: float = _UNBOUNDED) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel of the outputs of the BatchNorm `norm`, cut to `0..high`.

    Its outputs are taken as normal with mean beta and standard deviation gamma: Nagel et al. 2019, "Data-Free
    Quantization Through Weight Equalization and Bias Correction", section 4.2.1.
    """
    mean = given[f"{norm}.bias"].double()
    deviation = given[f"{norm}.weight"].double().abs().clamp(min=1e-6)
    unit = torch.distributions.Normal(0.0, 1.0, validate_args=False)
    low_z, high_z = -mean / deviation, (high - mean) / deviation
    below, above = unit.cdf(low_z), 1 - unit.cdf(high_z)
    density_low, density_high = unit.log_prob(low_z).exp(), unit.log_prob(high_z).exp()
    inside = 1 - below - above
    first = mean * inside + deviation * (density_low - density_high) + high * above
    second = (
        (mean**2 + deviation**2) * inside
        + deviation * (mean * density_low - (mean + high) * density_high)
        + high**2 * above
    )
    return first.float(), (second - first**2).clamp(min=0).float()

"""1D and 2D convolutions with named padding, "same" or "valid"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

aten = torch.ops.aten

CONVOLUTIONS = {3: aten.conv1d.default, 4: aten.conv2d.default}
"""Convolutions by the rank of their weight."""


def convolution_with_named_padding(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: str = "valid",
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """`conv1d` and `conv2d` with padding "same" or "valid"; of an odd number of zeros the extra one is at the
    end."""
    kernel = weight.shape[2:]
    # In torch one number stands for every axis, but not in the attributes of ONNX.
    stride, dilation = (list(v) * (len(kernel) // len(v)) for v in (stride, dilation))
    totals = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    if any(total % 2 for total in totals):
        behind = [amount for total in reversed(totals) for amount in (0, total % 2)]
        x = aten.constant_pad_nd.default(x, behind, 0.0)
    around = [total // 2 for total in totals]
    return CONVOLUTIONS[weight.dim()](x, weight, bias, stride, around, dilation, groups)

"""Attention, and bilinear layers, as matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FAR = -1e30
"""Added to a masked score: its exponential is 0, as that of minus infinity is."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`softmax(query @ key.T * scale + mask) @ value` (arXiv:1706.03762, section 3.2.1)."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(repeats, -3) for t in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = (1 - attn_mask.to(scores.dtype)) * FAR
        scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if dropout_p > 0:
        weights = torch.dropout(weights, dropout_p, train=True)
    return torch.matmul(weights, value)


def bilinear(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`left[i] * weight[o, i, j] * right[j]`, summed over i and j."""
    out, size, _ = weight.shape
    mixed = torch.matmul(left, weight.transpose(0, 1).reshape(size, -1)).unflatten(-1, (out, -1))
    y = (mixed * right.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias

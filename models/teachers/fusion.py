"""Fusions: combine features of several modalities into one vector per clip, with missing modalities.

The mask `there`, bool `N x modalities`, marks available modalities; features of missing ones are ignored. All clips
without any modality get the same output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.ranges import within

_NEVER = -1e4
"""Score of a missing modality: its softmax weight is zero, and finite if all are missing."""


@dataclass(frozen=True, kw_only=True)
class ConcatenationOptions:
    """Concatenation of features."""


@dataclass(frozen=True, kw_only=True)
class WeightedSumOptions:
    """A sum with learned weights."""

    features: int = within(256, 1, 8_192)
    """Features of each modality after projection."""


@dataclass(frozen=True, kw_only=True)
class GatedOptions:
    """A sum whose weights depend on the clip."""

    features: int = within(256, 1, 8_192)
    """Features of each modality after projection."""


@dataclass(frozen=True, kw_only=True)
class CrossAttentionOptions:
    """Attention of each modality to all others."""

    features: int = within(256, 1, 8_192)
    """Features of each modality; a multiple of `heads`."""
    heads: int = within(4, 1, 64)
    """Number of attention heads."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.features < 1 or self.features % self.heads:
            raise ValueError(
                f"features is {self.features}, heads {self.heads}: features must be a multiple of heads"
            )


class Concatenation(nn.Module):
    """`N F` of each modality -> `N sum(F)`; a learned vector replaces a missing modality."""

    def __init__(self, sizes: Sequence[int], options: ConcatenationOptions) -> None:
        super().__init__()
        self.absent = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)
        self.features = sum(sizes)

    def forward(self, features: Sequence[Tensor], there: Tensor) -> Tensor:
        """The concatenated features."""
        whole = [
            torch.where(has.unsqueeze(1), x, absent)
            for x, has, absent in zip(features, there.unbind(1), self.absent, strict=True)
        ]
        return torch.cat(whole, dim=1)


class WeightedSum(nn.Module):
    """`N F` of each modality -> `N features`: mean of the available modalities with one learned weight each."""

    def __init__(self, sizes: Sequence[int], options: WeightedSumOptions) -> None:
        super().__init__()
        self.project = _projections(sizes, options.features)
        self.score = nn.Parameter(torch.zeros(len(sizes)))
        self.features = options.features

    def forward(self, features: Sequence[Tensor], there: Tensor) -> Tensor:
        """The weighted mean; weights are positive and sum to one over the available modalities."""
        x = _stacked(self.project, features, there)
        share = self.score.expand(there.shape).masked_fill(~there, _NEVER).softmax(1)
        return (share.unsqueeze(2) * x).sum(1)


class Gated(nn.Module):
    """`N F` of each modality -> `N features`: every feature is a mean with weights computed from all modalities.

    Source: Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", section 3.1, with a softmax over
    modalities in place of its sigmoid, so that gates sum to one over the available modalities.
    """

    def __init__(self, sizes: Sequence[int], options: GatedOptions) -> None:
        super().__init__()
        self.project = _projections(sizes, options.features)
        self.gate = nn.Linear(len(sizes) * options.features, len(sizes) * options.features)
        self.features = options.features

    def forward(self, features: Sequence[Tensor], there: Tensor) -> Tensor:
        """The gated mean of the available modalities."""
        x = _stacked(self.project, features, there).tanh()
        scores = self.gate(x.flatten(1)).unflatten(1, x.shape[1:])
        gates = scores.masked_fill(~there.unsqueeze(2), _NEVER).softmax(1)
        return (gates * x).sum(1)


class CrossAttention(nn.Module):
    """`N F` of each modality -> `N features`: each modality attends to all available ones, then the mean.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2, between modalities as in Tsai et al.
    2019, "Multimodal Transformer for Unaligned Multimodal Language Sequences", with one token per modality.
    """

    def __init__(self, sizes: Sequence[int], options: CrossAttentionOptions) -> None:
        super().__init__()
        self.project = _projections(sizes, options.features)
        self.modality = nn.Parameter(0.02 * torch.randn(len(sizes), options.features))
        """Learned embedding of each modality."""
        self.before = nn.LayerNorm(options.features)
        self.query_key_value = nn.Linear(options.features, 3 * options.features)
        self.answer = nn.Linear(options.features, options.features)
        self.heads = options.heads
        self.features = options.features

    def forward(self, features: Sequence[Tensor], there: Tensor) -> Tensor:
        """The mean over available modalities after attention."""
        x = _stacked(self.project, features, there) + self.modality
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.before(x)).chunk(3, dim=2)
        )
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        scores = scores.masked_fill(~there[:, None, None], _NEVER).softmax(3)
        x = x + self.answer((scores @ value).transpose(1, 2).flatten(2))
        return (x * there.unsqueeze(2)).sum(1) / there.sum(1, keepdim=True).clamp(min=1)

    def layers_left_whole(self) -> list[nn.Module]:
        """Layers that must not be pruned: their features are divided among heads."""
        return [self.query_key_value, self.answer]


def _projections(sizes: Sequence[int], features: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(size, features) for size in sizes)


def _stacked(project: nn.ModuleList, features: Sequence[Tensor], there: Tensor) -> Tensor:
    """`N x modalities x features`, zeros for missing modalities."""
    x = torch.stack([layer(one) for layer, one in zip(project, features, strict=True)], dim=1)
    return torch.where(there.unsqueeze(2), x, 0.0)


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A fusion for recipes: `build(sizes, options)` with the number of features of every modality."""

    build: Callable[[Sequence[int], Any], nn.Module]
    options: type


FUSIONS: dict[str, Fusion] = {
    "concatenation": Fusion(build=Concatenation, options=ConcatenationOptions),
    "weighted_sum": Fusion(build=WeightedSum, options=WeightedSumOptions),
    "gated": Fusion(build=Gated, options=GatedOptions),
    "cross_attention": Fusion(build=CrossAttention, options=CrossAttentionOptions),
}

"""TimeSformer: patches of single frames as tokens; each block attends over time, then over space.

Source: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", section 3 and
figure 2, divided space-time attention with the released networks' layer after the attention over time. ViT-B:
patches of 16 x 16, 12 blocks of 768 features with 12 heads; published for 8 frames of 224 x 224.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec
from models.video_transformer import Attention, initialise, sines

_NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class TimesformerOptions:
    """Size of a TimeSformer."""

    width: float = size_factor()
    """Multiplies the features of a token, and with them the number of heads."""
    depth: float = size_factor()
    """Multiplies the number of blocks, rounded up."""
    dropout: float = dropout_share(0.0)
    """Share of features zeroed before the classifiers while training."""


class DividedBlock(nn.Module):
    """Attention over time, attention over space, a layer of four times the features; each added to its input."""

    def __init__(self, features: int, *, heads: int) -> None:
        super().__init__()
        self.before_time = nn.LayerNorm(features, eps=_NORM_EPS)
        self.time = Attention(features, heads=heads)
        self.after_time = nn.Linear(features, features)
        self.before_space = nn.LayerNorm(features, eps=_NORM_EPS)
        self.space = Attention(features, heads=heads)
        self.before_layers = nn.LayerNorm(features, eps=_NORM_EPS)
        self.layers = nn.Sequential(
            nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features)
        )

    def forward(self, class_token: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The class token `N 1 F` and the patches `N T S F` (S patches of a frame), with unchanged shapes.

        A patch attends to its position in all frames, then, together with the class token, to its frame; the class
        token is averaged over frames.
        """
        clips, frames, places, _ = patches.shape
        along_time = patches.transpose(1, 2).flatten(0, 1)
        along_time = self.after_time(self.time(self.before_time(along_time)))
        patches = patches + along_time.unflatten(0, (clips, places)).transpose(1, 2)
        within_frame = torch.cat([class_token.unsqueeze(1).expand(-1, frames, -1, -1), patches], dim=2)
        found = self.space(self.before_space(within_frame.flatten(0, 1))).unflatten(0, (clips, frames))
        class_token = class_token + found[:, :, 0].mean(1, keepdim=True)
        patches = patches + found[:, :, 1:]
        class_token = class_token + self.layers(self.before_layers(class_token))
        return class_token, patches + self.layers(self.before_layers(patches))


class Timesformer(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column, from a class token."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        patch: int,
        features: int,
        head_features: int,
        blocks: int,
        options: TimesformerOptions,
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="TimeSformer", least_size=patch)
        if video.size % patch:
            raise ValueError(
                f"frames of {video.size} x {video.size} do not divide into patches of {patch} x {patch}: "
                f"use a multiple of {patch} pixels"
            )
        features = round_channels(features * options.width, divisor=head_features)
        self.normalise = Normalise(video.mean, video.std)
        self.embed = nn.Conv2d(3, features, patch, stride=patch)
        self.answer = nn.Parameter(0.02 * torch.randn(1, 1, features))
        side = video.size // patch
        places = torch.cat([torch.zeros(1, features), sines((side, side), features)])
        self.place = nn.Parameter(places.unsqueeze(0))
        """Positions of the class token, then of every patch of a frame."""
        self.moment = nn.Parameter(sines((video.frames,), features).unsqueeze(0))
        self.blocks = nn.ModuleList(
            DividedBlock(features, heads=features // head_features)
            for _ in range(math.ceil(blocks * options.depth))
        )
        self.norm = nn.LayerNorm(features, eps=_NORM_EPS)
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        pictures = self.normalise(clip).transpose(1, 2)
        patches = self.embed(pictures.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = (patches + self.place[:, 1:]).unflatten(0, pictures.shape[:2])
        patches = patches + self.moment.unsqueeze(2)
        class_token = (self.answer + self.place[:, :1]).expand(len(clip), -1, -1)
        for block in self.blocks:
            class_token, patches = block(class_token, patches)
        return self.heads(self.norm(class_token[:, 0]))


def timesformer(spec: ClipSpec, options: TimesformerOptions) -> Timesformer:
    """TimeSformer in its published shape, scaled by `options`."""
    return Timesformer(spec, patch=16, features=768, head_features=64, blocks=12, options=options)


def timesformer_tiny(spec: ClipSpec, options: TimesformerOptions) -> Timesformer:
    """Two blocks of 32 features with patches of 8 x 8, for tests: trains in seconds."""
    return Timesformer(spec, patch=8, features=32, head_features=16, blocks=2, options=options)

"""A video transformer: tubelets of a clip as tokens, with joint space-time attention.

Sources: Arnab et al. 2021, "ViViT: A Video Vision Transformer", section 3.2 (tubelet embedding) and model 1 (joint
space-time attention); Tong et al. 2022, "VideoMAE" for the sizes: tubelets of 2 x 16 x 16, mean pooling, 12 blocks
of 384 features with 6 heads (its ViT-S). Positional embeddings are initialised as sines, as in VideoMAE, and
learned as in ViViT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import Heads, Normalise, Triple, clip_only, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec, VideoSpec


@dataclass(frozen=True, kw_only=True)
class VideoTransformerOptions:
    """Size of a video transformer."""

    width: float = size_factor()
    """Multiplies the features of a token, and with them the number of heads; 0.5 is the width of ViT-Ti."""
    depth: float = size_factor()
    """Multiplies the number of blocks, rounded up."""
    pooling: Literal["mean", "class"] = "mean"
    """Input of the classifiers: the mean of all tokens, or a class token."""
    dropout: float = dropout_share(0.0)
    """Share of features zeroed before the classifiers while training."""


def initialise(network: nn.Module) -> None:
    """Uniform Glorot initialisation (Glorot & Bengio 2010), as in VideoMAE; zero biases.

    ViT's standard deviation of 0.02 for all weights suits its 768 features: layers of 32 features would reduce the
    scale to a ninth, and attention, with nearly equal scores, would hardly start to learn.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.xavier_uniform_(layer.weight.flatten(1))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def sines(sizes: Sequence[int], features: int) -> Tensor:
    """Sinusoidal positions of the cells of a grid: `cells F`, the last axis varies fastest.

    Every axis has an equal share of the features: sines and cosines of wavelengths from 2 pi to 20,000 pi cells
    (Vaswani et al. 2017, section 3.5). The remaining features are zero.
    """
    waves = features // (2 * len(sizes))
    rates = 10_000.0 ** -(torch.arange(waves) / max(1, waves))
    places = torch.cartesian_prod(*(torch.arange(float(size)) for size in sizes)).view(-1, len(sizes), 1)
    angles = (places * rates).flatten(1)
    return functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, features - 2 * angles.shape[1]))


class Attention(nn.Module):
    """Multi-head self-attention over tokens `N L F`."""

    def __init__(self, features: int, *, heads: int) -> None:
        super().__init__()
        self.head_features = features // heads
        """Features of one head. Their number follows from the weights, so that heads can be pruned."""
        self.query_key_value = nn.Linear(features, 3 * features)
        self.project = nn.Linear(features, features)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.project.in_features // self.head_features

    def forward(self, tokens: Tensor, *, there: Tensor | None = None) -> Tensor:
        """`N L F` -> `N L F`; the mask `there`, bool `N L`, marks tokens to attend to."""
        query, key, value = (
            part.unflatten(2, (self.heads, self.head_features)).transpose(1, 2)
            for part in self.query_key_value(tokens).chunk(3, dim=2)
        )
        mask = None if there is None else there[:, None, None]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.project(found.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention, then an MLP of four times the features with GELU; pre-norm, with residuals."""

    def __init__(self, features: int, *, heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(features)
        self.attention = Attention(features, heads=heads)
        self.before_layers = nn.LayerNorm(features)
        self.layers = nn.Sequential(
            nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features)
        )

    def forward(self, tokens: Tensor, *, there: Tensor | None = None) -> Tensor:
        """`N L F` -> `N L F`; the mask `there` marks tokens to attend to."""
        tokens = tokens + self.attention(self.before_attention(tokens), there=there)
        return tokens + self.layers(self.before_layers(tokens))


class VideoTransformer(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column; `tubelet` is (frames, rows, columns) of a token."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        tubelet: Triple,
        features: int,
        head_features: int,
        blocks: int,
        options: VideoTransformerOptions,
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="a video transformer", least_size=tubelet[1])
        _require_whole_tubelets(video, tubelet)
        features = round_channels(features * options.width, divisor=head_features)
        grid = (video.frames // tubelet[0], video.size // tubelet[1], video.size // tubelet[2])
        self.normalise = Normalise(video.mean, video.std)
        self.embed = nn.Conv3d(3, features, tubelet, stride=tubelet)
        self.answer = nn.Parameter(0.02 * torch.randn(1, 1, features)) if options.pooling == "class" else None
        position = sines(grid, features)
        if self.answer is not None:
            position = torch.cat([torch.zeros(1, features), position])
        self.position = nn.Parameter(position.unsqueeze(0))
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(features, heads=features // head_features)
                for _ in range(math.ceil(blocks * options.depth))
            )
        )
        self.norm = nn.LayerNorm(features)
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        tokens = self.embed(self.normalise(clip)).flatten(2).transpose(1, 2)
        if self.answer is not None:
            tokens = torch.cat([self.answer.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens + self.position))
        return self.heads(tokens.mean(1) if self.answer is None else tokens[:, 0])


def video_transformer(spec: ClipSpec, options: VideoTransformerOptions) -> VideoTransformer:
    """The size of VideoMAE's ViT-S, published for 16 frames of 224 x 224."""
    return VideoTransformer(
        spec, tubelet=(2, 16, 16), features=384, head_features=64, blocks=12, options=options
    )


def video_transformer_tiny(spec: ClipSpec, options: VideoTransformerOptions) -> VideoTransformer:
    """Two blocks of 32 features with tubelets of 2 x 8 x 8, for tests: trains in seconds."""
    return VideoTransformer(spec, tubelet=(2, 8, 8), features=32, head_features=16, blocks=2, options=options)


def _require_whole_tubelets(video: VideoSpec, tubelet: Triple) -> None:
    """Raises `ValueError` if tubelets do not cover all frames and pixels of the clip."""
    frames, pixels, _ = tubelet
    if video.frames % frames or video.size % pixels:
        raise ValueError(
            f"clips of {video.frames} frames of {video.size} x {video.size} do not divide into tubelets of "
            f"{frames} frames of {pixels} x {pixels}: use multiples of {frames} frames and of {pixels} pixels"
        )

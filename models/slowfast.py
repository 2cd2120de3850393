"""SlowFast: a wide pathway over few frames and a thin one over all frames, fused after every stage.

Source: Feichtenhofer et al. 2019, "SlowFast Networks for Video Recognition", section 3 and table 1; the lateral
kernel of 7 frames is that of the authors' released 8x8 network (the paper has 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, conv_bn, conv_bn_relu, initialise, round_channels
from models.ranges import dropout_share, size_factor, within
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class SlowFastOptions:
    """Size of a SlowFast network."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    dropout: float = dropout_share(0.5)
    """Share of features zeroed before the classifiers while training."""
    alpha: int = within(4, 1, 64)
    """The slow pathway takes every `alpha`-th frame of the clip."""

    def __post_init__(self) -> None:
        if self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}, but it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """Bottleneck blocks of both pathways; the first has the spatial stride."""

    channels: int
    """Channels of the slow pathway's 1x3x3 convolutions; its blocks output four times as many."""
    blocks: int
    stride: int
    slow_frames: int
    """Temporal kernel of the slow pathway; the fast one always has 3."""


_FIFTY: tuple[_Stage, ...] = (
    _Stage(channels=64, blocks=3, stride=1, slow_frames=1),
    _Stage(channels=128, blocks=4, stride=2, slow_frames=1),
    _Stage(channels=256, blocks=6, stride=2, slow_frames=3),
    _Stage(channels=512, blocks=3, stride=2, slow_frames=3),
)
_TINY: tuple[_Stage, ...] = (
    _Stage(channels=16, blocks=1, stride=1, slow_frames=1),
    _Stage(channels=32, blocks=1, stride=2, slow_frames=3),
)
_EXPANSION = 4
_FAST_SHARE = 8
"""Ratio of the channels of the slow to the fast pathway (1 / beta)."""
_LATERAL_RATIO = 2
"""Output channels of a lateral connection per channel of the fast pathway."""
_LATERAL_FRAMES = 7
_STEM = 64


class Bottleneck3d(nn.Module):
    """Temporal or pointwise convolution, 1x3x3, 1x1x1, and a shortcut, then ReLU."""

    def __init__(self, before: int, inner: int, *, frames: int, stride: int) -> None:
        super().__init__()
        after = inner * _EXPANSION
        self.body = nn.Sequential(
            conv_bn_relu(before, inner, kernel=(frames, 1, 1)),
            conv_bn_relu(inner, inner, kernel=(1, 3, 3), stride=(1, stride, stride)),
            conv_bn(inner, after, kernel=(1, 1, 1)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = conv_bn(before, after, kernel=(1, 1, 1), stride=(1, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        return torch.relu(self.body(x) + self.shortcut(x))


class SlowFast(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column; both pathways take the same clip."""

    def __init__(
        self, spec: ClipSpec, *, stem: int, stages: tuple[_Stage, ...], options: SlowFastOptions
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="SlowFast", least_size=2 ** (1 + len(stages)))
        self.normalise = Normalise(video.mean, video.std)
        slow = round_channels(stem * options.width)
        fast = slow // _FAST_SHARE
        # A temporal stride of alpha with a kernel of one frame selects every alpha-th frame without a copy.
        self.slow_stem = _stem(slow, frames=1, stride=options.alpha)
        self.fast_stem = _stem(fast, frames=5, stride=1)
        self.laterals, self.slow_stages, self.fast_stages = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage in stages:
            handed = fast * _LATERAL_RATIO
            self.laterals.append(
                conv_bn_relu(fast, handed, kernel=(_LATERAL_FRAMES, 1, 1), stride=(options.alpha, 1, 1))
            )
            inner = round_channels(stage.channels * options.width)
            self.slow_stages.append(_blocks(slow + handed, inner, stage, frames=stage.slow_frames))
            self.fast_stages.append(_blocks(fast, inner // _FAST_SHARE, stage, frames=3))
            slow, fast = inner * _EXPANSION, inner // _FAST_SHARE * _EXPANSION
        self.heads = Heads(slow + fast, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column, from the means of both pathways."""
        clip = self.normalise(clip)
        slow, fast = self.slow_stem(clip), self.fast_stem(clip)
        for lateral, slow_stage, fast_stage in zip(
            self.laterals, self.slow_stages, self.fast_stages, strict=True
        ):
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        return self.heads(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], dim=1))


def slowfast_r50(spec: ClipSpec, options: SlowFastOptions) -> SlowFast:
    """SlowFast with 50 layers in its published shape (8 slow frames of 32), scaled by `options.width`."""
    return SlowFast(spec, stem=_STEM, stages=_FIFTY, options=options)


def slowfast_tiny(spec: ClipSpec, options: SlowFastOptions) -> SlowFast:
    """Two stages of one block, for tests: runs in milliseconds."""
    return SlowFast(spec, stem=16, stages=_TINY, options=options)


def _stem(channels: int, *, frames: int, stride: int) -> nn.Sequential:
    return conv_bn_relu(3, channels, kernel=(frames, 7, 7), stride=(stride, 2, 2)).append(
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    )


def _blocks(before: int, inner: int, stage: _Stage, *, frames: int) -> nn.Sequential:
    first = Bottleneck3d(before, inner, frames=frames, stride=stage.stride)
    after = inner * _EXPANSION
    rest = [Bottleneck3d(after, inner, frames=frames, stride=1) for _ in range(stage.blocks - 1)]
    return nn.Sequential(first, *rest)

"""X3D: a narrow, deep 3D residual network expanded axis by axis; XS, S and M differ only in their clips.

Source: Feichtenhofer 2020, "X3D: Expanding Architectures for Efficient Video Recognition", table 3 (right) and
appendix; unspecified details as in the author's published configuration: squeeze-excite in every
other block, its channels a sixteenth of the block's in multiples of 8, no BatchNorm after the last layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.layers import (
    Heads,
    Normalise,
    SqueezeExcite,
    clip_only,
    conv_bn,
    conv_bn_relu,
    initialise,
    round_channels,
)
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec

_BOTTLENECK = 2.25
"""Inner channels of a block per output channel."""
_SQUEEZE = 1 / 16
"""Channels of a squeeze-excite per inner channel."""


@dataclass(frozen=True, kw_only=True)
class X3dOptions:
    """Size of an X3D."""

    width: float = size_factor()
    """Multiplies the channels of every stage and of the last layer."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every stage, rounded up."""
    dropout: float = dropout_share(0.5)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """`repeats` blocks of `channels`; the first halves rows and columns."""

    channels: int
    repeats: int


_PUBLISHED = (
    _Stage(channels=24, repeats=3),
    _Stage(channels=48, repeats=5),
    _Stage(channels=96, repeats=11),
    _Stage(channels=192, repeats=7),
)
_TINY = (_Stage(channels=8, repeats=2), _Stage(channels=16, repeats=2))


class _Block(nn.Module):
    """1x1x1 expansion, channel-wise 3x3x3, optional squeeze-excite, swish, 1x1x1 projection; shortcut, ReLU."""

    def __init__(self, before: int, after: int, *, halves: bool, excites: bool) -> None:
        super().__init__()
        inner = int(_BOTTLENECK * after)
        stride = (1, 2, 2) if halves else (1, 1, 1)
        layers = [
            conv_bn_relu(before, inner, kernel=(1, 1, 1)),
            conv_bn(inner, inner, kernel=(3, 3, 3), stride=stride, groups=inner),
            nn.SiLU(inplace=True),
            conv_bn(inner, after, kernel=(1, 1, 1)),
        ]
        if excites:
            layers.insert(2, SqueezeExcite(inner, hidden=round_channels(_SQUEEZE * inner)))
        self.body = nn.Sequential(*layers)
        self.shortcut = (
            conv_bn(before, after, kernel=(1, 1, 1), stride=stride)
            if halves or before != after
            else nn.Identity()
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        return self.relu(self.shortcut(x) + self.body(x))


class X3d(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column; time is only reduced by the last mean."""

    def __init__(
        self, spec: ClipSpec, *, stages: Sequence[_Stage], features: int, options: X3dOptions
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="X3D", least_size=2 ** (1 + len(stages)))
        widths = [round_channels(stage.channels * options.width) for stage in stages]
        channels = widths[0]
        self.normalise = Normalise(video.mean, video.std)
        self.stem = nn.Sequential(
            nn.Conv3d(3, channels, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False),
            conv_bn_relu(channels, channels, kernel=(5, 1, 1), groups=channels),
        )
        blocks: list[nn.Module] = []
        for stage, after in zip(stages, widths, strict=True):
            for repeat in range(math.ceil(stage.repeats * options.depth)):
                blocks.append(_Block(channels, after, halves=repeat == 0, excites=repeat % 2 == 0))
                channels = after
        self.blocks = nn.Sequential(*blocks)
        inner, last = int(_BOTTLENECK * channels), round_channels(features * options.width)
        self.widen = conv_bn_relu(channels, inner, kernel=(1, 1, 1))
        self.features = nn.Sequential(nn.Linear(inner, last, bias=False), nn.ReLU(inplace=True))
        self.heads = Heads(last, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        found = self.widen(self.blocks(self.stem(self.normalise(clip))))
        return self.heads(self.features(found.mean((2, 3, 4))))


def x3d_xs(spec: ClipSpec, options: X3dOptions) -> X3d:
    """X3D-XS: the published shape for clips of 4 frames of 160 x 160."""
    return X3d(spec, stages=_PUBLISHED, features=2048, options=options)


def x3d_s(spec: ClipSpec, options: X3dOptions) -> X3d:
    """X3D-S: the published shape for clips of 13 frames of 160 x 160."""
    return X3d(spec, stages=_PUBLISHED, features=2048, options=options)


def x3d_m(spec: ClipSpec, options: X3dOptions) -> X3d:
    """X3D-M: the published shape for clips of 16 frames of 224 x 224."""
    return X3d(spec, stages=_PUBLISHED, features=2048, options=options)


def x3d_tiny(spec: ClipSpec, options: X3dOptions) -> X3d:
    """Two stages of two blocks, one of each with squeeze-excite, for tests: trains in seconds."""
    return X3d(spec, stages=_TINY, features=48, options=options)

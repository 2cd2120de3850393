"""I3D: Inception-v1 with kernels and poolings inflated in time; `InceptionV1` is also used by S3D.

Sources: Carreira and Zisserman 2017, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
section 2.4 and figure 3; Szegedy et al. 2015, "Going Deeper with Convolutions", table 1 (the widths).

Padding is symmetric, whereas the authors' TensorFlow code pads the end of an axis more; feature maps have the same
sizes. The mean is over the whole last feature map, so that any clip length is supported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import (
    Heads,
    Normalise,
    clip_only,
    conv_bn_relu,
    initialise,
    max_pool_by_two,
    round_channels,
)
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec

Convolve = Callable[[int, int, int, int], nn.Module]
"""`(channels before, channels after, kernel, stride)` -> a convolution over space and time with its activation."""

BATCHNORM_EPS = 1e-3
"""Epsilon of every BatchNorm in the Inception family."""


@dataclass(frozen=True, kw_only=True)
class I3dOptions:
    """Size of an I3D."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    dropout: float = dropout_share(0.5)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Channels of the four branches of one Inception block."""

    point: int
    """1x1x1 alone."""
    three: tuple[int, int]
    """1x1x1, then 3x3x3."""
    second: tuple[int, int]
    """1x1x1, then 3x3x3, in place of the 5x5 of the image network."""
    pooled: int
    """3x3x3 maximum, then 1x1x1."""


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Channels of an Inception-v1: three stem convolutions, then stages of blocks, each after a pooling."""

    stem: tuple[int, int, int]
    stages: tuple[tuple[Widths, ...], ...]


PUBLISHED = Skeleton(
    stem=(64, 64, 192),
    stages=(
        (
            Widths(point=64, three=(96, 128), second=(16, 32), pooled=32),
            Widths(point=128, three=(128, 192), second=(32, 96), pooled=64),
        ),
        (
            Widths(point=192, three=(96, 208), second=(16, 48), pooled=64),
            Widths(point=160, three=(112, 224), second=(24, 64), pooled=64),
            Widths(point=128, three=(128, 256), second=(24, 64), pooled=64),
            Widths(point=112, three=(144, 288), second=(32, 64), pooled=64),
            Widths(point=256, three=(160, 320), second=(32, 128), pooled=128),
        ),
        (
            Widths(point=256, three=(160, 320), second=(32, 128), pooled=128),
            Widths(point=384, three=(192, 384), second=(48, 128), pooled=128),
        ),
    ),
)
TINY = Skeleton(stem=(8, 8, 16), stages=((), (Widths(point=8, three=(8, 16), second=(8, 8), pooled=8),)))


class InceptionBlock(nn.Module):
    """Four branches over the same input, concatenated along channels; `width` scales them all."""

    def __init__(self, before: int, widths: Widths, *, convolve: Convolve, width: float) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return round_channels(channels * width)

        def narrow_then_wide(channels: tuple[int, int]) -> nn.Sequential:
            inner, after = map(scaled, channels)
            return nn.Sequential(_pointwise(before, inner), convolve(inner, after, 3, 1))

        self.point = _pointwise(before, scaled(widths.point))
        self.three = narrow_then_wide(widths.three)
        self.second = narrow_then_wide(widths.second)
        self.pooled = nn.Sequential(
            nn.MaxPool3d(3, stride=1, padding=1), _pointwise(before, scaled(widths.pooled))
        )
        self.channels = sum(map(scaled, (widths.point, widths.three[1], widths.second[1], widths.pooled)))

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T H W`."""
        return torch.cat([self.point(x), self.three(x), self.second(x), self.pooled(x)], dim=1)


class InceptionV1(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column, with `convolve` in place of every k x k x k."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        network: str,
        skeleton: Skeleton,
        convolve: Convolve,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        halvings = 2 + len(skeleton.stages)
        video = clip_only(spec, network=network, least_size=2**halvings)
        self.normalise = Normalise(video.mean, video.std)
        first, second, channels = (round_channels(count * width) for count in skeleton.stem)
        layers: list[nn.Module] = [
            convolve(3, first, 7, 2),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            _pointwise(first, second),
            convolve(second, channels, 3, 1),
        ]
        for index, stage in enumerate(skeleton.stages):
            layers.append(self._pooling(index, frames=video.frames, size=video.size))
            for widths in stage:
                block = InceptionBlock(channels, widths, convolve=convolve, width=width)
                layers.append(block)
                channels = block.channels
        self.video = nn.Sequential(*layers)
        self.heads = Heads(channels, spec, dropout=dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        return self.heads(self.video(self.normalise(clip)).mean((2, 3, 4)))

    @staticmethod
    def _pooling(stage: int, *, frames: int, size: int) -> nn.Module:
        """The pooling before a stage: space alone, then windows of three, then of two (figure 3)."""
        if stage == 0:
            return nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        if stage == 1:
            return nn.MaxPool3d(3, stride=2, padding=1)
        return max_pool_by_two((-(-frames // 4), -(-size // 16), -(-size // 16)))[0]


def i3d(spec: ClipSpec, options: I3dOptions) -> InceptionV1:
    """I3D in its published shape, scaled by `options.width`."""
    return _i3d(spec, PUBLISHED, options)


def i3d_tiny(spec: ClipSpec, options: I3dOptions) -> InceptionV1:
    """One block after the stem, for tests: runs in milliseconds."""
    return _i3d(spec, TINY, options)


def _i3d(spec: ClipSpec, skeleton: Skeleton, options: I3dOptions) -> InceptionV1:
    return InceptionV1(
        spec,
        network="I3D",
        skeleton=skeleton,
        convolve=_dense,
        width=options.width,
        dropout=options.dropout,
    )


def _dense(before: int, after: int, kernel: int, stride: int) -> nn.Module:
    return conv_bn_relu(before, after, kernel=(kernel,) * 3, stride=(stride,) * 3, eps=BATCHNORM_EPS)


def _pointwise(before: int, after: int) -> nn.Module:
    return conv_bn_relu(before, after, kernel=(1, 1, 1), eps=BATCHNORM_EPS)

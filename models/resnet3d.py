"""R3D-18 and R(2+1)D-18: residual networks over space and time, with 3D or factorised kernels.

Source: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition", sections 3.3
(R3D), 3.5 (R(2+1)D) and table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, conv_bn, conv_bn_relu, initialise, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec

Convolve = Callable[[int, int, int, int], nn.Module]
"""`(channels before, channels after, middle channels, stride)` -> a 3x3x3 convolution, 3D or factorised."""


@dataclass(frozen=True, kw_only=True)
class ResNet3dOptions:
    """Size of an R3D or R(2+1)D."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    dropout: float = dropout_share(0.0)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """Channels and number of blocks of each stage; every stage but the first halves time and space."""

    channels: tuple[int, ...]
    blocks: int


_EIGHTEEN = _Stages(channels=(64, 128, 256, 512), blocks=2)
_TINY = _Stages(channels=(8, 16), blocks=1)


class BasicBlock3d(nn.Module):
    """Two 3x3x3 convolutions and a shortcut, then ReLU."""

    def __init__(self, before: int, after: int, *, stride: int, convolve: Convolve) -> None:
        super().__init__()
        middle = middle_channels(before, after)
        self.body = nn.Sequential(
            convolve(before, after, middle, stride),
            nn.BatchNorm3d(after),
            nn.ReLU(inplace=True),
            convolve(after, after, middle, 1),
            nn.BatchNorm3d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = conv_bn(before, after, kernel=(1, 1, 1), stride=(stride,) * 3)

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T' H' W'`."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet3d(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        network: str,
        stem: nn.Module,
        channels: Sequence[int],
        blocks: int,
        convolve: Convolve,
        options: ResNet3dOptions,
    ) -> None:
        super().__init__()
        video = clip_only(spec, network=network, least_size=2 ** len(channels))
        self.normalise = Normalise(video.mean, video.std)
        layers: list[nn.Module] = [stem]
        for stage, (before, after) in enumerate(zip([channels[0], *channels], channels, strict=False)):
            layers.append(BasicBlock3d(before, after, stride=2 if stage else 1, convolve=convolve))
            layers += [BasicBlock3d(after, after, stride=1, convolve=convolve) for _ in range(blocks - 1)]
        self.video = nn.Sequential(*layers)
        self.heads = Heads(channels[-1], spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        return self.heads(self.video(self.normalise(clip)).mean((2, 3, 4)))


def middle_channels(before: int, after: int) -> int:
    """Channels between a spatial and a temporal convolution with together as many weights as one 3x3x3.

    Section 3.5, with t = d = 3. As in the authors' released networks, computed once per block from its outer
    channels.
    """
    return (27 * before * after) // (9 * before + 3 * after)


def r3d_18(spec: ClipSpec, options: ResNet3dOptions) -> ResNet3d:
    """R3D with 18 layers in its published shape, scaled by `options.width`."""
    return _r3d(spec, _EIGHTEEN, options)


def r3d_tiny(spec: ClipSpec, options: ResNet3dOptions) -> ResNet3d:
    """Two blocks, for tests: runs in milliseconds."""
    return _r3d(spec, _TINY, options)


def r2plus1d_18(spec: ClipSpec, options: ResNet3dOptions) -> ResNet3d:
    """R(2+1)D with 18 layers in its published shape, scaled by `options.width`."""
    return _r2plus1d(spec, _EIGHTEEN, options)


def r2plus1d_tiny(spec: ClipSpec, options: ResNet3dOptions) -> ResNet3d:
    """Two blocks, for tests: runs in milliseconds."""
    return _r2plus1d(spec, _TINY, options)


def _r3d(spec: ClipSpec, stages: _Stages, options: ResNet3dOptions) -> ResNet3d:
    channels = [round_channels(count * options.width) for count in stages.channels]
    return ResNet3d(
        spec,
        network="R3D",
        stem=conv_bn_relu(3, channels[0], kernel=(3, 7, 7), stride=(1, 2, 2)),
        channels=channels,
        blocks=stages.blocks,
        convolve=_whole,
        options=options,
    )


def _r2plus1d(spec: ClipSpec, stages: _Stages, options: ResNet3dOptions) -> ResNet3d:
    channels = [round_channels(count * options.width) for count in stages.channels]
    middle = channels[0] * 45 // 64  # 45 is the stem of the released networks; the formula would give 83.
    return ResNet3d(
        spec,
        network="R(2+1)D",
        stem=nn.Sequential(
            conv_bn_relu(3, middle, kernel=(1, 7, 7), stride=(1, 2, 2)),
            conv_bn_relu(middle, channels[0], kernel=(3, 1, 1)),
        ),
        channels=channels,
        blocks=stages.blocks,
        convolve=_factorised,
        options=options,
    )


def _whole(before: int, after: int, _: int, stride: int) -> nn.Module:
    return nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False)


def _factorised(before: int, after: int, middle: int, stride: int) -> nn.Module:
    time = nn.Conv3d(middle, after, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False)
    return conv_bn_relu(before, middle, kernel=(1, 3, 3), stride=(1, stride, stride)).append(time)

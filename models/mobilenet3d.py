"""MobileNet3D: MobileNetV1 and MobileNetV2 with 3D convolutions, light students for short clips.

Sources: Howard et al. 2017, "MobileNets"; Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks"; Köpüklü et al. 2019, "Resource Efficient 3D Convolutional Neural Networks" (their strides in time).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import (
    AudioEncoder,
    Heads,
    Normalise,
    Triple,
    conv_bn_relu,
    conv_bn_relu6,
    initialise,
    require_size,
    round_channels,
)
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class MobileNet3dOptions:
    """Size of a MobileNet3D."""

    width: float = size_factor()
    """Multiplies every number of channels (the width multiplier of MobileNetV2)."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every stage, rounded; at least one is left."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """`repeats` blocks with `channels` outputs; the first has the stride and changes the channels."""

    channels: int
    repeats: int
    stride: Triple
    expand: int = 1
    """Expansion factor of inverted residuals."""


def repeats(row: Blocks, depth: float) -> int:
    """Number of blocks of a row in a network of this depth."""
    return max(1, round(row.repeats * depth))


_MOBILENET_V1: tuple[Blocks, ...] = (
    Blocks(channels=64, repeats=1, stride=(2, 2, 2)),
    Blocks(channels=128, repeats=2, stride=(2, 2, 2)),
    Blocks(channels=256, repeats=2, stride=(2, 2, 2)),
    Blocks(channels=512, repeats=6, stride=(2, 2, 2)),
    Blocks(channels=1024, repeats=2, stride=(1, 1, 1)),
)
MOBILENET_V2: tuple[Blocks, ...] = (
    Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
    Blocks(expand=6, channels=24, repeats=2, stride=(2, 2, 2)),
    Blocks(expand=6, channels=32, repeats=3, stride=(2, 2, 2)),
    Blocks(expand=6, channels=64, repeats=4, stride=(2, 2, 2)),
    Blocks(expand=6, channels=96, repeats=3, stride=(1, 1, 1)),
    Blocks(expand=6, channels=160, repeats=3, stride=(2, 2, 2)),
    Blocks(expand=6, channels=320, repeats=1, stride=(1, 1, 1)),
)
_SMALL: tuple[Blocks, ...] = (
    Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
    Blocks(expand=4, channels=24, repeats=2, stride=(1, 2, 2)),
    Blocks(expand=4, channels=32, repeats=2, stride=(2, 2, 2)),
    Blocks(expand=4, channels=64, repeats=2, stride=(2, 2, 2)),
)
TINY: tuple[Blocks, ...] = (
    Blocks(expand=1, channels=8, repeats=1, stride=(1, 1, 1)),
    Blocks(expand=4, channels=16, repeats=2, stride=(1, 2, 2)),
    Blocks(expand=4, channels=24, repeats=2, stride=(2, 2, 2)),
)


class InvertedResidual3d(nn.Module):
    """1x1x1 expansion, depthwise 3x3x3, 1x1x1 linear projection; added to its input where shapes agree.

    `factorised` splits the depthwise convolution into one over space, 1x3x3, and one over time, 3x1x1, which is
    omitted without `time`.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        expand: int,
        stride: Triple,
        factorised: bool = False,
        time: bool = True,
    ) -> None:
        super().__init__()
        hidden = before * expand
        frames, rows, columns = stride
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(conv_bn_relu6(before, hidden, kernel=(1, 1, 1)))
        if factorised:
            strides = (1, rows, columns)
            layers.append(conv_bn_relu6(hidden, hidden, kernel=(1, 3, 3), stride=strides, groups=hidden))
            if time:
                strides = (frames, 1, 1)
                layers.append(conv_bn_relu6(hidden, hidden, kernel=(3, 1, 1), stride=strides, groups=hidden))
        else:
            layers.append(conv_bn_relu6(hidden, hidden, kernel=(3, 3, 3), stride=stride, groups=hidden))
        layers += [nn.Conv3d(hidden, after, 1, bias=False), nn.BatchNorm3d(after)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == (1, 1, 1) and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T' H' W'`."""
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNet3d(nn.Module):
    """Clip `N 3 T H W` (and, if the spec has audio, log-mel `N 1 M B`) -> logits `N K` per label column.

    `embed` maps the mean of the outputs of `video` to `features` features.
    """

    def __init__(
        self,
        spec: ClipSpec,
        *,
        video: nn.Sequential,
        embed: nn.Module | None = None,
        features: int,
        audio_channels: Sequence[int],
        options: MobileNet3dOptions,
    ) -> None:
        super().__init__()
        if spec.video is None or spec.text is not None:
            raise ValueError(
                f"MobileNet3D takes the inputs clip, or clip and audio; given: {', '.join(spec.inputs)}"
            )
        halvings = math.prod(layer.stride[2] for layer in video.modules() if isinstance(layer, nn.Conv3d))
        require_size(spec.video, network="this MobileNet3D", least=halvings)
        self.normalise = Normalise(spec.video.mean, spec.video.std)
        self.video = video
        self.embed = embed or nn.Identity()
        self.audio = None
        if spec.audio is not None:
            self.audio = AudioEncoder(
                spec.audio, channels=[round_channels(c * options.width) for c in audio_channels]
            )
            features += self.audio.features
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor, audio: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        features = self.embed(self.video(self.normalise(clip)).mean((2, 3, 4)))
        if self.audio is not None:
            features = torch.cat([features, self.audio(audio)], dim=1)
        return self.heads(features)


def inverted_residuals(
    spec: ClipSpec,
    options: MobileNet3dOptions,
    *,
    blocks: Sequence[Blocks],
    stem: int,
    head: int,
    audio_channels: Sequence[int],
    factorised: bool = False,
) -> MobileNet3d:
    """A MobileNetV2 of the given blocks with the channels of stem and head, before scaling by the width.

    `factorised` replaces every convolution over space and time by one over space, then one over time; the stem then
    convolves single frames.
    """
    channels = round_channels(stem * options.width)
    kernel = (1, 3, 3) if factorised else (3, 3, 3)
    layers: list[nn.Module] = [conv_bn_relu6(3, channels, kernel=kernel, stride=(1, 2, 2))]
    for row in blocks:
        after = round_channels(row.channels * options.width)
        for repeat in range(repeats(row, options.depth)):
            stride = row.stride if repeat == 0 else (1, 1, 1)
            layers.append(
                InvertedResidual3d(channels, after, expand=row.expand, stride=stride, factorised=factorised)
            )
            channels = after
    features = round_channels(head * max(1.0, options.width))
    layers.append(conv_bn_relu6(channels, features, kernel=(1, 1, 1)))
    return MobileNet3d(
        spec,
        video=nn.Sequential(*layers),
        features=features,
        audio_channels=audio_channels,
        options=options,
    )


def mobilenet3d(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """3D-MobileNetV2 in its published shape, scaled by `options.width`."""
    return inverted_residuals(
        spec, options, blocks=MOBILENET_V2, stem=32, head=1280, audio_channels=(16, 32, 64, 128)
    )


def mobilenet3d_small(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Four stages with less temporal downsampling, for clips of 8 small frames and training on a CPU."""
    return inverted_residuals(
        spec, options, blocks=_SMALL, stem=16, head=256, audio_channels=(16, 32, 64, 128)
    )


def mobilenet3d_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Two short stages, for tests: trains in seconds."""
    return inverted_residuals(spec, options, blocks=TINY, stem=8, head=48, audio_channels=(8, 16, 24))


def mobilenet3d_v1(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """3D-MobileNetV1 in its published shape: depthwise 3x3x3 and pointwise layers in turn, no shortcuts."""
    channels = round_channels(32 * options.width)
    layers: list[nn.Module] = [conv_bn_relu(3, channels, kernel=(3, 3, 3), stride=(1, 2, 2))]
    for row in _MOBILENET_V1:
        after = round_channels(row.channels * options.width)
        for repeat in range(repeats(row, options.depth)):
            stride = row.stride if repeat == 0 else (1, 1, 1)
            layers.append(conv_bn_relu(channels, channels, kernel=(3, 3, 3), stride=stride, groups=channels))
            layers.append(conv_bn_relu(channels, after, kernel=(1, 1, 1)))
            channels = after
    return MobileNet3d(
        spec,
        video=nn.Sequential(*layers),
        features=channels,
        audio_channels=(16, 32, 64, 128),
        options=options,
    )

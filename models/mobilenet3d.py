"""MobileNet3D: MobileNetV2 with 3D convolutions, a light student for short clips.

Sources: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"; Köpüklü et al. 2019,
"Resource Efficient 3D Convolutional Neural Networks" (the 3D strides of table 1, right column).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import AudioEncoder, Heads, Normalise, Triple, conv_bn_relu6, initialise, round_channels
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class MobileNet3dOptions:
    """Size of a MobileNet3D."""

    width: float = 1.0
    """Multiplies every number of channels (the width multiplier of MobileNetV2)."""
    dropout: float = 0.2
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """`repeats` inverted residuals; the first of them has the stride and changes the channels."""

    expand: int
    channels: int
    repeats: int
    stride: Triple


_MOBILENET_V2: tuple[_Blocks, ...] = (
    _Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
    _Blocks(expand=6, channels=24, repeats=2, stride=(2, 2, 2)),
    _Blocks(expand=6, channels=32, repeats=3, stride=(2, 2, 2)),
    _Blocks(expand=6, channels=64, repeats=4, stride=(2, 2, 2)),
    _Blocks(expand=6, channels=96, repeats=3, stride=(1, 1, 1)),
    _Blocks(expand=6, channels=160, repeats=3, stride=(2, 2, 2)),
    _Blocks(expand=6, channels=320, repeats=1, stride=(1, 1, 1)),
)
_SMALL: tuple[_Blocks, ...] = (
    _Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
    _Blocks(expand=4, channels=24, repeats=2, stride=(1, 2, 2)),
    _Blocks(expand=4, channels=32, repeats=2, stride=(2, 2, 2)),
    _Blocks(expand=4, channels=64, repeats=2, stride=(2, 2, 2)),
)
_TINY: tuple[_Blocks, ...] = (
    _Blocks(expand=1, channels=8, repeats=1, stride=(1, 1, 1)),
    _Blocks(expand=4, channels=16, repeats=2, stride=(1, 2, 2)),
    _Blocks(expand=4, channels=24, repeats=2, stride=(2, 2, 2)),
)


class InvertedResidual3d(nn.Module):
    """1x1x1 expansion, depthwise 3x3x3, 1x1x1 linear projection; added to its input where shapes agree."""

    def __init__(self, before: int, after: int, *, expand: int, stride: Triple) -> None:
        super().__init__()
        hidden = before * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(conv_bn_relu6(before, hidden, kernel=(1, 1, 1)))
        layers += [
            conv_bn_relu6(hidden, hidden, kernel=(3, 3, 3), stride=stride, groups=hidden),
            nn.Conv3d(hidden, after, 1, bias=False),
            nn.BatchNorm3d(after),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == (1, 1, 1) and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T' H' W'`."""
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNet3d(nn.Module):
    """Clip `N 3 T H W` (and, if the spec has sound, log-mel `N 1 M B`) -> logits `N K` per label column."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[_Blocks],
        stem: int,
        head: int,
        audio_channels: Sequence[int],
        options: MobileNet3dOptions,
    ) -> None:
        super().__init__()
        if spec.video is None or spec.text is not None:
            raise ValueError(
                f"MobileNet3D takes the inputs clip, or clip and audio; it was given {', '.join(spec.inputs)}"
            )
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(spec.video.mean, spec.video.std)
        layers: list[nn.Module] = [conv_bn_relu6(3, channels, kernel=(3, 3, 3), stride=(1, 2, 2))]
        for row in blocks:
            after = round_channels(row.channels * options.width)
            for repeat in range(row.repeats):
                stride = row.stride if repeat == 0 else (1, 1, 1)
                layers.append(InvertedResidual3d(channels, after, expand=row.expand, stride=stride))
                channels = after
        features = round_channels(head * max(1.0, options.width))
        layers.append(conv_bn_relu6(channels, features, kernel=(1, 1, 1)))
        self.video = nn.Sequential(*layers)
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
        features = self.video(self.normalise(clip)).mean((2, 3, 4))
        if self.audio is not None:
            features = torch.cat([features, self.audio(audio)], dim=1)
        return self.heads(features)


def mobilenet3d(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """3D-MobileNetV2 in its published shape, scaled by `options.width`."""
    return MobileNet3d(
        spec, blocks=_MOBILENET_V2, stem=32, head=1280, audio_channels=(16, 32, 64, 128), options=options
    )


def mobilenet3d_small(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Four stages that keep time longer: for clips of 8 small frames, and for training on a CPU."""
    return MobileNet3d(
        spec, blocks=_SMALL, stem=16, head=256, audio_channels=(16, 32, 64, 128), options=options
    )


def mobilenet3d_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Two short stages: for tests, where it trains in seconds."""
    return MobileNet3d(spec, blocks=_TINY, stem=8, head=48, audio_channels=(8, 16, 24), options=options)

"""ShuffleNet3D: ShuffleNetV2 with 3D convolutions; half of the channels bypass each block.

Sources: Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design"; Köpüklü et
al. 2019, "Resource Efficient 3D Convolutional Neural Networks" (channels per width, strides in time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, conv_bn, conv_bn_relu, initialise
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class ShuffleNet3dOptions:
    """Size of a ShuffleNet3D."""

    width: float = size_factor()
    """A published width: 0.25, 0.5, 1.0, 1.5 or 2.0."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Channels:
    """Channels of each stage and of the last layer."""

    stages: tuple[int, ...]
    last: int


_PUBLISHED: dict[float, _Channels] = {
    0.25: _Channels(stages=(32, 64, 128), last=1024),
    0.5: _Channels(stages=(48, 96, 192), last=1024),
    1.0: _Channels(stages=(116, 232, 464), last=1024),
    1.5: _Channels(stages=(176, 352, 704), last=1024),
    2.0: _Channels(stages=(224, 488, 976), last=2048),
}
_TINY: dict[float, _Channels] = {1.0: _Channels(stages=(16, 32), last=48)}


class _Branch(nn.Sequential):
    """Pointwise, depthwise 3x3x3 without activation, pointwise, with `after` output channels."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__(
            conv_bn_relu(before, after, kernel=(1, 1, 1)),
            conv_bn(after, after, kernel=(3, 3, 3), stride=(stride, stride, stride), groups=after),
            conv_bn_relu(after, after, kernel=(1, 1, 1)),
        )


class _Unit(nn.Module):
    """Transforms one half of the channels, then interleaves both halves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _Branch(channels // 2, channels // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> the same shape."""
        passed, worked = x.chunk(2, dim=1)
        return _shuffle(torch.cat([passed, self.branch(worked)], dim=1))


class _Downsample(nn.Module):
    """Two branches over all channels that halve time, rows and columns."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            conv_bn(before, before, kernel=(3, 3, 3), stride=(2, 2, 2), groups=before),
            conv_bn_relu(before, after // 2, kernel=(1, 1, 1)),
        )
        self.branch = _Branch(before, after // 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T/2 H/2 W/2`."""
        return _shuffle(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


class ShuffleNet3d(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        widths: Mapping[float, _Channels],
        stem: int,
        repeats: Sequence[int],
        options: ShuffleNet3dOptions,
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="ShuffleNet3D", least_size=2 ** (2 + len(repeats)))
        if options.width not in widths:
            allowed = ", ".join(str(width) for width in widths)
            raise ValueError(f"this ShuffleNet3D has no width {options.width}: use one of {allowed}")
        channels = widths[options.width]
        self.normalise = Normalise(video.mean, video.std)
        layers: list[nn.Module] = [
            conv_bn_relu(3, stem, kernel=(3, 3, 3), stride=(1, 2, 2)),
            nn.MaxPool3d(3, stride=2, padding=1),
        ]
        before = stem
        for after, units in zip(channels.stages, repeats, strict=True):
            layers.append(_Downsample(before, after))
            layers += [_Unit(after) for _ in range(units - 1)]
            before = after
        layers.append(conv_bn_relu(before, channels.last, kernel=(1, 1, 1)))
        self.video = nn.Sequential(*layers)
        self.heads = Heads(channels.last, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        return self.heads(self.video(self.normalise(clip)).mean((2, 3, 4)))

    def layers_left_whole(self) -> list[nn.Module]:
        """Layers that must not be pruned: the concatenated halves must have equal sizes."""
        layers: list[nn.Module] = []
        for unit in self.video:
            if isinstance(unit, _Unit | _Downsample):
                layers.append(unit.branch[-1])
            if isinstance(unit, _Downsample):
                layers.append(unit.shortcut[-1])
        return layers


def shufflenet3d(spec: ClipSpec, options: ShuffleNet3dOptions) -> ShuffleNet3d:
    """3D-ShuffleNetV2 in one of its published widths."""
    return ShuffleNet3d(spec, widths=_PUBLISHED, stem=24, repeats=(4, 8, 4), options=options)


def shufflenet3d_tiny(spec: ClipSpec, options: ShuffleNet3dOptions) -> ShuffleNet3d:
    """Two stages in one width, for tests: trains in seconds."""
    return ShuffleNet3d(spec, widths=_TINY, stem=8, repeats=(2, 2), options=options)


def _shuffle(x: Tensor) -> Tensor:
    """Interleaves the two halves of the channels: 0, C/2, 1, C/2 + 1 and so on (ShuffleNet, section 3.1)."""
    return x.unflatten(1, (2, x.shape[1] // 2)).transpose(1, 2).flatten(1, 2)

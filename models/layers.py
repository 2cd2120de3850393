"""Building blocks shared by several networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.spec import AudioSpec, ClipSpec, VideoSpec

Triple = tuple[int, int, int]

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
"""Layers that normalise by statistics of a batch."""


class Normalise(nn.Module):
    """`(x - mean) / std` per channel of a clip `N C T H W` whose values lie in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1, 1))

    def forward(self, clip: Tensor) -> Tensor:
        """The normalised clip, `N C T H W`."""
        return (clip - self.mean) / self.std


class Heads(nn.Module):
    """One linear classifier per label and tag column on features `N F`; returns a tensor, or a tuple for
    several."""

    def __init__(self, features: int, spec: ClipSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.classifiers = nn.ModuleList(
            nn.Linear(features, len(column.classes)) for column in (*spec.labels, *spec.tags)
        )

    def forward(self, features: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits `N K` of each column: those of `spec.labels`, then those of `spec.tags`."""
        features = self.dropout(features)
        logits = tuple(classifier(features) for classifier in self.classifiers)
        return logits[0] if len(logits) == 1 else logits


class AudioEncoder(nn.Module):
    """A small CNN over a log-mel spectrogram: `N 1 M B` -> `N features`.

    One 3x3 convolution of stride 2 per entry of `channels`, then the mean over bands and time; with `keep_time`
    only over bands, which preserves temporal order.
    """

    def __init__(self, audio: AudioSpec, *, channels: Sequence[int], keep_time: bool = False) -> None:
        super().__init__()
        least = 2 ** len(channels)
        if min(audio.mels, audio.bins) < least:
            raise ValueError(
                f"a log-mel of {audio.mels} x {audio.bins} is too small for {len(channels)} halvings: "
                f"use at least {least} bands and bins"
            )
        layers: list[nn.Module] = []
        for before, after in zip([1, *channels], channels, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.keep_time = keep_time
        self.features = channels[-1] * (-(-audio.bins // least) if keep_time else 1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Means of the last convolution's channels."""
        found = self.layers(log_mel)
        return found.mean(2).flatten(1) if self.keep_time else found.mean((2, 3))


def conv_bn_relu6(
    before: int, after: int, *, kernel: Triple, stride: Triple = (1, 1, 1), groups: int = 1
) -> nn.Sequential:
    """Conv3d with "same" padding for odd kernels, BatchNorm3d, ReLU6: `N C T H W` -> `N C' T' H' W'`."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(before, after, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm3d(after),
        nn.ReLU6(inplace=True),
    )


def conv_bn(
    before: int,
    after: int,
    *,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Conv3d with "same" padding for odd kernels, BatchNorm3d: `N C T H W` -> `N C' T' H' W'`."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(before, after, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm3d(after, eps=eps),
    )


def conv_bn_relu(
    before: int,
    after: int,
    *,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Sequential:
    """`conv_bn`, then ReLU."""
    layers = conv_bn(before, after, kernel=kernel, stride=stride, groups=groups, eps=eps)
    return layers.append(nn.ReLU(inplace=True))


class PadSame(nn.Module):
    """Zeros around rows and columns as TensorFlow's padding `SAME`: if their number is odd, one more at the end."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W`, padded for a convolution whose result has `ceil(H / stride)` rows."""
        pads: list[int] = []
        for size in (x.shape[4], x.shape[3]):
            total = max(self.kernel - (size % self.stride or self.stride), 0)
            pads += [total // 2, total - total // 2]
        return functional.pad(x, pads)


class SqueezeExcite(nn.Module):
    """Scales each channel of `N C T H W` by a gate computed from the channel means over the clip.

    Hu et al. 2018, "Squeeze-and-Excitation Networks", section 3; `gate` is the activation of the second pointwise
    layer, `hidden` the channels between both.
    """

    def __init__(self, channels: int, *, hidden: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv3d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv3d(hidden, channels, 1), gate()
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x` with its channels scaled."""
        return x * self.gate(x.mean((2, 3, 4), keepdim=True))


def initialise(network: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He initialisation of convolutions (He et al. 2015), linear layers of standard deviation 0.01 without bias.

    `fan_out` suits networks with BatchNorm; without it, `fan_in` preserves the scale of activations.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def require_size(video: VideoSpec, *, network: str, least: int) -> None:
    """Raises `ValueError` if frames have fewer than `least` rows and columns."""
    if video.size < least:
        raise ValueError(
            f"frames of {video.size} x {video.size} are too small for {network}: use a size of at least {least}"
        )


def max_pool_by_two(extent: Triple, *, time: bool = True) -> tuple[nn.MaxPool3d, Triple]:
    """Max pooling over 2 x 2 x 2 of T x H x W = `extent`, and the extent of the result: halves, rounded up.

    Odd axes are padded, and an axis of length one is unchanged, to support short clips; without `time`, frames are
    not pooled.
    """
    halved = [size > 1 and (axis > 0 or time) for axis, size in enumerate(extent)]
    kernel = tuple(2 if halve else 1 for halve in halved)
    padding = tuple(size % 2 if halve else 0 for halve, size in zip(halved, extent, strict=True))
    frames, rows, columns = (-(-size // k) for size, k in zip(extent, kernel, strict=True))
    return nn.MaxPool3d(kernel, stride=kernel, padding=padding), (frames, rows, columns)


def clip_only(spec: ClipSpec, *, network: str, least_size: int) -> VideoSpec:
    """The video spec of a spec with only video input; `ValueError` for other inputs or too small frames.

    `least_size`, in pixels, is the total downsampling factor of `network`.
    """
    if spec.video is None or spec.inputs != ("clip",):
        raise ValueError(f"{network} takes only the input clip; given: {', '.join(spec.inputs)}")
    require_size(spec.video, network=network, least=least_size)
    return spec.video


class _Row(Protocol):
    """A row of a table of blocks."""

    @property
    def channels(self) -> int: ...

    @property
    def halves(self) -> bool: ...


AnyRow = TypeVar("AnyRow", bound=_Row)


def deepened(rows: Sequence[AnyRow], depth: float) -> list[AnyRow]:
    """`rows` with `depth` times as many blocks of every width, by repeating or dropping the last ones.

    The number is rounded and at least one; repeated blocks have no stride.
    """
    found: list[AnyRow] = []
    for _, alike in itertools.groupby(rows, key=lambda row: row.channels):
        stage = list(alike)
        last = replace(stage[-1], halves=False)  # type: ignore[type-var]
        wanted = max(1, round(len(stage) * depth))
        found += (stage + [last] * wanted)[:wanted]
    return found


def round_channels(channels: float, *, divisor: int = 8) -> int:
    """Channels rounded to a multiple of `divisor`, never more than 10 % below (MobileNetV2, section 4)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded

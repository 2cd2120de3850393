"""Building blocks that several families share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.spec import AudioSpec, ClipSpec

Triple = tuple[int, int, int]


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
    """One linear classifier per label column on features `N F`; gives a tensor, or a tuple when several."""

    def __init__(self, features: int, spec: ClipSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifiers = nn.ModuleList(nn.Linear(features, len(label.classes)) for label in spec.labels)

    def forward(self, features: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits `N K` of each label column, in the order of `spec.labels`."""
        features = self.dropout(features)
        logits = tuple(classifier(features) for classifier in self.classifiers)
        return logits[0] if len(logits) == 1 else logits


class AudioEncoder(nn.Module):
    """A small CNN over a log-mel picture: `N 1 M B` -> `N features`.

    One 3x3 convolution of stride 2 per entry of `channels`, then the mean over bands and time; with `keep_time`
    over bands alone, so that the features of early and late sounds stay apart.
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


def round_channels(channels: float, *, divisor: int = 8) -> int:
    """Channels rounded to a multiple of `divisor`, never more than 10 % below (MobileNetV2, section 4)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded

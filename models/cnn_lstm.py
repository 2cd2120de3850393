"""CNN and LSTM: a MobileNetV2 for single frames and a recurrent layer over time.

Sources: Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description",
section 4 (which averages the predictions of all steps; here the last step predicts); Sandler et al. 2018,
"MobileNetV2" for the frames. The combination is Pocketreel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, initialise, round_channels
from models.mobilenet3d import MOBILENET_V2, TINY, Blocks
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class CnnLstmOptions:
    """Size of a CNN with a recurrent layer."""

    width: float = size_factor()
    """Multiplies every number of channels, and the size of the recurrent layer."""
    recurrent: Literal["lstm", "gru"] = "lstm"
    """Type of the recurrent layer."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


class _InvertedResidual2d(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 linear projection; added to its input where shapes agree."""

    def __init__(self, before: int, after: int, *, expand: int, stride: int) -> None:
        super().__init__()
        hidden = before * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(_conv_bn_relu6(before, hidden, kernel=1))
        layers += [
            _conv_bn_relu6(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`N*T C H W` -> `N*T C' H' W'`."""
        return x + self.layers(x) if self.residual else self.layers(x)


class CnnLstm(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column after the last frame."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[Blocks],
        stem: int,
        head: int,
        hidden: int,
        options: CnnLstmOptions,
    ) -> None:
        super().__init__()
        halvings = 1 + sum(row.stride[2] == 2 for row in blocks)
        video = clip_only(spec, network="CNN-LSTM", least_size=2**halvings)
        self.normalise = Normalise(video.mean, video.std)
        channels = round_channels(stem * options.width)
        layers: list[nn.Module] = [_conv_bn_relu6(3, channels, kernel=3, stride=2)]
        for row in blocks:
            after = round_channels(row.channels * options.width)
            for repeat in range(row.repeats):
                stride = row.stride[2] if repeat == 0 else 1
                layers.append(_InvertedResidual2d(channels, after, expand=row.expand, stride=stride))
                channels = after
        features = round_channels(head * max(1.0, options.width))
        layers.append(_conv_bn_relu6(channels, features, kernel=1))
        self.frame = nn.Sequential(*layers)
        kind = nn.LSTM if options.recurrent == "lstm" else nn.GRU
        hidden = round_channels(hidden * options.width)
        self.recurrent = kind(features, hidden, batch_first=True)
        self.heads = Heads(hidden, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        clips, _, frames, _, _ = clip.shape
        pictures = self.normalise(clip).transpose(1, 2).flatten(0, 1)
        features = self.frame(pictures).mean((2, 3)).unflatten(0, (clips, frames))
        return self.heads(self.recurrent(features)[0][:, -1])


def cnn_lstm(spec: ClipSpec, options: CnnLstmOptions) -> CnnLstm:
    """MobileNetV2 in its published shape per frame, then 256 recurrent features."""
    return CnnLstm(spec, blocks=MOBILENET_V2, stem=32, head=1280, hidden=256, options=options)


def cnn_lstm_tiny(spec: ClipSpec, options: CnnLstmOptions) -> CnnLstm:
    """Two short stages and 24 recurrent features, for tests: trains in seconds."""
    return CnnLstm(spec, blocks=TINY, stem=8, head=48, hidden=24, options=options)


def _conv_bn_relu6(
    before: int, after: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Conv2d with "same" padding for odd kernels, BatchNorm2d, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(inplace=True),
    )

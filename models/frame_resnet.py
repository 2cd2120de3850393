"""A ResNet-50 for single frames, combined over time by a mean, a maximum or an LSTM.

Sources: He et al. 2016, "Deep Residual Learning for Image Recognition", table 1, with the stride in the 3x3
convolution as in torchvision; Karpathy et al. 2014, "Large-scale Video Classification with Convolutional Neural
Networks" for single frames; Donahue et al. 2015, "Long-term Recurrent Convolutional Networks" for the LSTM.

Layers have torchvision's names, so that its checkpoints can be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, initialise, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec

_EXPANSION = 4
_FIFTY = (3, 4, 6, 3)
"""Bottleneck blocks of each stage."""
_TINY = (1, 1)


@dataclass(frozen=True, kw_only=True)
class FramePoolingOptions:
    """Size of a CNN over single frames whose features are pooled over time."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    pooling: Literal["mean", "max"] = "mean"
    """Pooling of each feature over all frames."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class ResnetLstmOptions:
    """Size of a ResNet over single frames followed by an LSTM."""

    width: float = size_factor()
    """Multiplies every number of channels, and the size of the LSTM."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


class Bottleneck2d(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut, then ReLU: `N C H W` -> `N 4C' H' W'`."""

    def __init__(self, before: int, inner: int, *, stride: int) -> None:
        super().__init__()
        after = inner * _EXPANSION
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        found = torch.relu(self.bn1(self.conv1(x)))
        found = torch.relu(self.bn2(self.conv2(found)))
        return torch.relu(self.bn3(self.conv3(found)) + self.downsample(x))


class ResnetFrames(nn.Module):
    """Images `N 3 H W` -> features `N F`: a residual network without its classifier."""

    def __init__(self, *, stem: int, blocks: Sequence[int], width: float) -> None:
        super().__init__()
        channels = round_channels(stem * width)
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages: list[str] = []
        for stage, count in enumerate(blocks):
            inner = round_channels(stem * 2**stage * width)
            layers = nn.Sequential()
            for block in range(count):
                layers.append(Bottleneck2d(channels, inner, stride=2 if stage and not block else 1))
                channels = inner * _EXPANSION
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], layers)
        self.features = channels

    def forward(self, pictures: Tensor) -> Tensor:
        """Spatial means of the last stage."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(pictures))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class FrameResnet(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column; `over_time` combines the features of all frames."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        stem: int,
        blocks: Sequence[int],
        over_time: Literal["mean", "max", "lstm"],
        hidden: int,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="a ResNet over frames", least_size=2 ** (1 + len(blocks)))
        self.normalise = Normalise(video.mean, video.std)
        self.frame = ResnetFrames(stem=stem, blocks=blocks, width=width)
        self.over_time = over_time
        features = self.frame.features
        self.recurrent: nn.LSTM | None = None
        if over_time == "lstm":
            self.recurrent = nn.LSTM(features, round_channels(hidden * width), batch_first=True)
            features = self.recurrent.hidden_size
        self.heads = Heads(features, spec, dropout=dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        pictures = self.normalise(clip).transpose(1, 2)
        features = self.frame(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        if self.recurrent is not None:
            return self.heads(self.recurrent(features)[0][:, -1])
        return self.heads(features.mean(1) if self.over_time == "mean" else features.amax(1))


def resnet50_frames(spec: ClipSpec, options: FramePoolingOptions) -> FrameResnet:
    """ResNet-50 in its published shape over single frames, pooled over time."""
    return _pooled(spec, options, stem=64, blocks=_FIFTY)


def resnet_frames_tiny(spec: ClipSpec, options: FramePoolingOptions) -> FrameResnet:
    """Two stages of one block, for tests: runs in milliseconds."""
    return _pooled(spec, options, stem=8, blocks=_TINY)


def resnet50_lstm(spec: ClipSpec, options: ResnetLstmOptions) -> FrameResnet:
    """ResNet-50 in its published shape over single frames, then an LSTM of 512 features."""
    return _recurrent(spec, options, stem=64, blocks=_FIFTY, hidden=512)


def resnet_lstm_tiny(spec: ClipSpec, options: ResnetLstmOptions) -> FrameResnet:
    """Two stages of one block, then 32 recurrent features, for tests: runs in milliseconds."""
    return _recurrent(spec, options, stem=8, blocks=_TINY, hidden=32)


def _pooled(spec: ClipSpec, options: FramePoolingOptions, *, stem: int, blocks: Sequence[int]) -> FrameResnet:
    return FrameResnet(
        spec,
        stem=stem,
        blocks=blocks,
        over_time=options.pooling,
        hidden=0,
        width=options.width,
        dropout=options.dropout,
    )


def _recurrent(
    spec: ClipSpec, options: ResnetLstmOptions, *, stem: int, blocks: Sequence[int], hidden: int
) -> FrameResnet:
    return FrameResnet(
        spec,
        stem=stem,
        blocks=blocks,
        over_time="lstm",
        hidden=hidden,
        width=options.width,
        dropout=options.dropout,
    )

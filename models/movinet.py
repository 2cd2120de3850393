"""MoViNet-A0: a causal network for streams; no frame's features depend on a later frame.

Source: Kondratyuk et al. 2021, "MoViNets: Mobile Video Networks for Efficient Video Recognition", sections 3.1
(blocks) and 3.2 (causal convolutions, causal squeeze-excite), with the channels of the authors' published code
and the hard-swish and hard-sigmoid of their networks for phones. Their learned factor in front of each sum, which
starts at zero, is left to the BatchNorm there.

What flows from one frame to the next is in two kinds of places alone, and a program that takes one frame at a time
has to carry no more: the last `past` frames in front of a `CausalConv`; sums and the count of frames behind a mean
over the past (of `past_means`, and in front of the classifiers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import Heads, Normalise, Triple, clip_only, conv_bn, initialise, round_channels
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class MovinetOptions:
    """Size of a MoViNet."""

    width: float = 1.0
    """Multiplies every number of channels."""
    factorised: bool = True
    """Convolutions over space and time work in space, then in time, as the authors' networks for phones do;
    without it over both at once, as in the paper."""
    dropout: float = 0.2
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """One inverted residual: `kernel` in frames and in pixels, `expanded` inner channels."""

    kernel: tuple[int, int]
    expanded: int
    channels: int
    halves: bool = False


_A0: tuple[_Block, ...] = (
    _Block(kernel=(1, 5), expanded=24, channels=8, halves=True),
    _Block(kernel=(3, 3), expanded=80, channels=32, halves=True),
    _Block(kernel=(3, 3), expanded=80, channels=32),
    _Block(kernel=(3, 3), expanded=80, channels=32),
    _Block(kernel=(5, 3), expanded=184, channels=56, halves=True),
    _Block(kernel=(3, 3), expanded=112, channels=56),
    _Block(kernel=(3, 3), expanded=184, channels=56),
    _Block(kernel=(5, 3), expanded=184, channels=56),
    _Block(kernel=(3, 3), expanded=184, channels=56),
    _Block(kernel=(3, 3), expanded=184, channels=56),
    _Block(kernel=(3, 3), expanded=184, channels=56),
    _Block(kernel=(5, 3), expanded=384, channels=104, halves=True),
    _Block(kernel=(1, 5), expanded=280, channels=104),
    _Block(kernel=(1, 5), expanded=280, channels=104),
    _Block(kernel=(1, 5), expanded=344, channels=104),
)
_TINY: tuple[_Block, ...] = (
    _Block(kernel=(1, 5), expanded=16, channels=8),
    _Block(kernel=(5, 3), expanded=32, channels=16, halves=True),
    _Block(kernel=(3, 3), expanded=48, channels=16),
)


class CausalConv(nn.Module):
    """Depthwise convolution over a frame and the `past` ones before it; before the first frame there are zeros."""

    def __init__(self, channels: int, *, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        frames, rows, columns = kernel
        self.past = frames - 1
        padding = (0, rows // 2, columns // 2)
        self.conv = nn.Conv3d(
            channels, channels, kernel, stride=stride, padding=padding, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C T H' W'`."""
        if self.past:
            x = functional.pad(x, (0, 0, 0, 0, self.past, 0))
        return self.conv(x)


class CausalSqueezeExcite(nn.Module):
    """Scales the channels of each frame by a gate that the means over all frames so far decide."""

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv3d(channels, hidden, 1),
            nn.Hardswish(inplace=True),
            nn.Conv3d(hidden, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, x: Tensor, past_means: Tensor) -> Tensor:
        """`x`, `N C T H W`, with the channels of each frame scaled; `past_means` as the function of that name."""
        past = x.mean((3, 4)) @ past_means
        return x * self.gate(past.unsqueeze(3).unsqueeze(4))


class _Residual(nn.Module):
    """Expansion, depthwise convolutions, squeeze-excite, projection; added to its input.

    Where shapes differ the input is averaged over 3x3 pixels and projected first.
    """

    def __init__(self, before: int, row: _Block, *, width: float, factorised: bool) -> None:
        super().__init__()
        inner, after = round_channels(row.expanded * width), round_channels(row.channels * width)
        frames, pixels = row.kernel
        stride = (1, 2, 2) if row.halves else (1, 1, 1)
        kernels: list[Triple] = [(frames, pixels, pixels)]
        if factorised and frames > 1:
            kernels = [(1, pixels, pixels), (frames, 1, 1)]
        layers: list[nn.Module] = [conv_bn(before, inner, kernel=(1, 1, 1)), nn.Hardswish(inplace=True)]
        for place, kernel in enumerate(kernels):
            layers += [
                CausalConv(inner, kernel=kernel, stride=stride if place == 0 else (1, 1, 1)),
                nn.BatchNorm3d(inner),
                nn.Hardswish(inplace=True),
            ]
        self.body = nn.Sequential(*layers)
        self.excite = CausalSqueezeExcite(inner, hidden=round_channels(inner / 4))
        self.project = conv_bn(inner, after, kernel=(1, 1, 1))
        shortcut: list[nn.Module] = []
        if row.halves:
            shortcut.append(
                nn.AvgPool3d((1, 3, 3), stride=stride, padding=(0, 1, 1), count_include_pad=False)
            )
        if row.halves or before != after:
            shortcut.append(conv_bn(before, after, kernel=(1, 1, 1)))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor, past_means: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        return self.shortcut(x) + self.project(self.excite(self.body(x), past_means))


class Movinet(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column, as they are after the clip's last frame."""

    past_means: Tensor

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[_Block],
        stem: int,
        head: int,
        features: int,
        options: MovinetOptions,
    ) -> None:
        super().__init__()
        halvings = 1 + sum(row.halves for row in blocks)
        # The last halving averages over 3x3 pixels, so it needs three rows and columns.
        video = clip_only(spec, network="MoViNet", least_size=2**halvings + 1)
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(video.mean, video.std)
        self.register_buffer("past_means", past_means(video.frames), persistent=False)
        self.stem = conv_bn(3, channels, kernel=(1, 3, 3), stride=(1, 2, 2)).append(
            nn.Hardswish(inplace=True)
        )
        self.blocks = nn.ModuleList()
        for row in blocks:
            self.blocks.append(_Residual(channels, row, width=options.width, factorised=options.factorised))
            channels = round_channels(row.channels * options.width)
        widest, last = round_channels(head * options.width), round_channels(features * options.width)
        self.widen = conv_bn(channels, widest, kernel=(1, 1, 1)).append(nn.Hardswish(inplace=True))
        self.features = nn.Sequential(nn.Linear(widest, last), nn.Hardswish(inplace=True))
        self.heads = Heads(last, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        x = self.stem(self.normalise(clip))
        for block in self.blocks:
            x = block(x, self.past_means)
        return self.heads(self.features(self.widen(x).mean((2, 3, 4))))


def past_means(frames: int) -> Tensor:
    """`T T`: what turns features of frames, `... T`, by a matrix product into their means over the past.

    Column `t` holds `1 / (t + 1)` in the rows up to `t`, so the mean includes the frame itself.
    """
    return torch.ones(frames, frames).triu() / torch.arange(1, frames + 1)


def movinet_a0(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """MoViNet-A0 for streams, published for 50 frames of 172 x 172."""
    return Movinet(spec, blocks=_A0, stem=8, head=480, features=2048, options=options)


def movinet_tiny(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """Three blocks with everything that A0 has: for tests, where it trains in seconds."""
    return Movinet(spec, blocks=_TINY, stem=8, head=48, features=64, options=options)

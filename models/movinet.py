"""MoViNet A0, A1 and A2: causal networks for streams; features of a frame do not depend on later frames.

Source: Kondratyuk et al. 2021, "MoViNets: Mobile Video Networks for Efficient Video Recognition", sections 3.1
(blocks) and 3.2 (causal convolutions, causal squeeze-excite), with the channels of the authors' published code
and the hard-swish and hard-sigmoid of their networks for phones. Their learned factor in front of each sum,
initially zero, is replaced by the BatchNorm there.

They stream (`models.streaming`): the state is the last inputs of each `CausalConv` and the running means of the
squeeze-excites and in front of the classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.layers import Heads, Normalise, Triple, clip_only, conv_bn, deepened, initialise, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec
from models.streaming import CausalConv, Memory, StreamingNetwork


@dataclass(frozen=True, kw_only=True)
class MovinetOptions:
    """Size of a MoViNet."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every width, rounded; at least one is left."""
    factorised: bool = True
    """Whether convolutions over space and time are factorised in space, then time, as in the authors' networks for
    phones; otherwise 3D, as in the paper."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One inverted residual: `kernel` in frames and in pixels, `expanded` inner channels."""

    kernel: tuple[int, int]
    expanded: int
    channels: int
    halves: bool = False


_FLAT, _SMALL, _THREE, _FIVE = (1, 5), (1, 3), (3, 3), (5, 3)
"""The kernels that occur: frames and pixels."""


def _stage(channels: int, *rows: tuple[tuple[int, int], int], halves: bool = True) -> tuple[Block, ...]:
    """Blocks with `channels` outputs, each with its kernel and inner channels; the first halves the resolution."""
    return tuple(
        Block(kernel=kernel, expanded=expanded, channels=channels, halves=halves and number == 0)
        for number, (kernel, expanded) in enumerate(rows)
    )


A0: tuple[Block, ...] = (
    *_stage(8, (_FLAT, 24)),
    *_stage(32, (_THREE, 80), (_THREE, 80), (_THREE, 80)),
    *_stage(56, (_FIVE, 184), (_THREE, 112), (_THREE, 184)),
    *_stage(56, (_FIVE, 184), (_THREE, 184), (_THREE, 184), (_THREE, 184), halves=False),
    *_stage(104, (_FIVE, 384), (_FLAT, 280), (_FLAT, 280), (_FLAT, 344)),
)
A1: tuple[Block, ...] = (
    *_stage(16, (_FLAT, 40), (_THREE, 40)),
    *_stage(40, (_THREE, 96), (_THREE, 120), (_THREE, 96), (_THREE, 96)),
    *_stage(64, (_FIVE, 216), (_THREE, 128), (_THREE, 216), (_THREE, 168), (_THREE, 216)),
    *_stage(
        64,
        *((_FIVE, 216), (_THREE, 216), (_THREE, 216)),
        *((_THREE, 128), (_FLAT, 128), (_THREE, 216)),
        halves=False,
    ),
    *_stage(
        136,
        *((_FIVE, 456), (_FLAT, 360), (_FLAT, 360), (_FLAT, 360)),
        *((_FLAT, 456), (_THREE, 456), (_SMALL, 544)),
    ),
)
A2: tuple[Block, ...] = (
    *_stage(16, (_FLAT, 40), (_THREE, 40), (_THREE, 64)),
    *_stage(40, (_THREE, 96), (_THREE, 120), (_THREE, 96), (_THREE, 96), (_THREE, 120)),
    *_stage(72, (_FIVE, 240), (_THREE, 160), (_THREE, 240), (_THREE, 192), (_THREE, 240)),
    *_stage(
        72,
        *((_FIVE, 240), (_THREE, 240), (_THREE, 240)),
        *((_THREE, 240), (_FLAT, 144), (_THREE, 240)),
        halves=False,
    ),
    *_stage(
        144,
        *((_FIVE, 480), (_FLAT, 384), (_FLAT, 384), (_FLAT, 480)),
        *((_FLAT, 480), (_THREE, 480), (_SMALL, 576)),
    ),
)
TINY: tuple[Block, ...] = (
    *_stage(8, (_FLAT, 16), halves=False),
    *_stage(16, (_FIVE, 32), (_THREE, 48)),
)


class CausalSqueezeExcite(nn.Module):
    """Scales the channels of each frame by a gate computed from the means over all frames so far."""

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv3d(channels, hidden, 1),
            nn.Hardswish(inplace=True),
            nn.Conv3d(hidden, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`x`, `N C T H W`, with the channels of each frame scaled."""
        return x * self.gate(memory.running_mean(x.mean((3, 4), keepdim=True)))


class _Residual(nn.Module):
    """Expansion, depthwise convolutions, squeeze-excite, projection; added to its input.

    Where shapes differ, the input is first averaged over 3x3 pixels and projected.
    """

    def __init__(self, before: int, row: Block, *, width: float, factorised: bool) -> None:
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
        self.body = nn.ModuleList(layers)
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

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        inner = x
        for layer in self.body:
            inner = layer(inner, memory) if isinstance(layer, CausalConv) else layer(inner)
        return self.shortcut(x) + self.project(self.excite(inner, memory))


class MovinetLayers(StreamingNetwork):
    """The order in which a MoViNet applies its layers, which its forms build."""

    normalise: nn.Module
    stem: nn.Module
    blocks: nn.ModuleList
    widen: nn.Module
    features: nn.Module
    heads: Heads

    def look(self, clip: Tensor, memory: Memory) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of `clip`."""
        x = self.stem(self.normalise(clip))
        for block in self.blocks:
            x = block(x, memory)
        return self.heads(self.features(memory.mean(self.widen(x).mean((3, 4), keepdim=True))))


class Movinet(MovinetLayers):
    """Clip `N 3 T H W` -> logits `N K` per label column after the last frame."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[Block],
        stem: int,
        head: int,
        features: int,
        options: MovinetOptions,
    ) -> None:
        super().__init__()
        blocks = deepened(blocks, options.depth)
        halvings = 1 + sum(row.halves for row in blocks)
        # The last halving averages over 3x3 pixels, so it needs three rows and columns.
        video = clip_only(spec, network="MoViNet", least_size=2**halvings + 1)
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(video.mean, video.std)
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


def movinet_a0(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """MoViNet-A0 for streams, published for 50 frames of 172 x 172."""
    return Movinet(spec, blocks=A0, stem=8, head=480, features=2048, options=options)


def movinet_a1(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """MoViNet-A1 for streams, published for 50 frames of 172 x 172."""
    return Movinet(spec, blocks=A1, stem=16, head=600, features=2048, options=options)


def movinet_a2(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """MoViNet-A2 for streams, published for 50 frames of 224 x 224."""
    return Movinet(spec, blocks=A2, stem=16, head=640, features=2048, options=options)


def movinet_tiny(spec: ClipSpec, options: MovinetOptions) -> Movinet:
    """Three blocks with all features of A0, for tests: trains in seconds."""
    return Movinet(spec, blocks=TINY, stem=8, head=48, features=64, options=options)

"""MoViNet A0, A1 and A2 as their authors published them: base networks for clips, and networks for streams.

Source: Kondratyuk et al. 2021, "MoViNets: Mobile Video Networks for Efficient Video Recognition", and the authors'
code, whose weights github.com/Atze00/MoViNet-pytorch offers for torch. They differ from `models.movinet` in padding
and average pooling (those of TensorFlow), in the BatchNorms' epsilon, and in the swish of the layer before the
classifiers. Base networks see later frames and have 3D kernels, swish and sigmoid. Gates of streams also see the
means of their own frame. The learned factor in front of each sum is part of the BatchNorm there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from models.layers import (
    Heads,
    Normalise,
    PadSame,
    Triple,
    clip_only,
    deepened,
    initialise,
    round_channels,
)
from models.movinet import A0, A1, A2, TINY, Block, MovinetLayers
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec
from models.streaming import CausalConv, Memory

_EPS = 1e-3
"""Added to the variance by BatchNorm in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class PublishedMovinetOptions:
    """Size of a published MoViNet."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every width, rounded; at least one is left."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What base networks and those for streams do differently."""

    streams: bool
    """Kernels over time are factorised and causal, and gates see the past."""
    activation: type[nn.Module]
    gate: type[nn.Module]


_STREAM = _Form(streams=True, activation=nn.Hardswish, gate=nn.Hardsigmoid)
_BASE = _Form(streams=False, activation=nn.SiLU, gate=nn.Sigmoid)


def _convolution(
    before: int,
    after: int,
    *,
    kernel: Triple = (1, 1, 1),
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None,
) -> nn.Sequential:
    """Convolution, BatchNorm and activation: `N C T H W` -> `N C' T H' W'`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    frames, rows, columns = (size // 2 for size in kernel)
    if stride > 1:
        layers["pad"], rows, columns = PadSame(kernel[1], stride), 0, 0
    layers["conv"] = nn.Conv3d(
        before,
        after,
        kernel,
        stride=(1, stride, stride),
        padding=(frames, rows, columns),
        groups=groups,
        bias=False,
    )
    layers["norm"] = nn.BatchNorm3d(after, eps=_EPS)
    if activation is not None:
        layers["activation"] = activation()
    return nn.Sequential(layers)


class _Excite(nn.Module):
    """Scales channels by a gate computed from their means over the clip; in streams over the past and the frame."""

    def __init__(self, channels: int, *, form: _Form) -> None:
        super().__init__()
        hidden = round_channels(channels // 4 * (2 if form.streams else 1))
        # Published as one layer over both means: the sum of two is the same, and can be pruned.
        self.past = nn.Conv3d(channels, hidden, 1, bias=False) if form.streams else None
        self.squeeze = nn.Conv3d(channels, hidden, 1)
        self.gate = nn.Sequential(form.activation(), nn.Conv3d(hidden, channels, 1), form.gate())

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`x`, `N C T H W`, with its channels scaled."""
        if self.past is None:
            return x * self.gate(self.squeeze(x.mean((2, 3, 4), keepdim=True)))
        means = x.mean((3, 4), keepdim=True)
        return x * self.gate(self.squeeze(means) + self.past(memory.running_mean(means)))


class _Residual(nn.Module):
    """Expansion, depthwise convolutions, gate, projection; added to its input.

    Where shapes differ, the input is first averaged over 3x3 pixels and projected.
    """

    def __init__(self, before: int, row: Block, *, width: float, form: _Form) -> None:
        super().__init__()
        inner, after = round_channels(row.expanded * width), round_channels(row.channels * width)
        frames, pixels = row.kernel
        factorises = form.streams and frames > 1
        self.expand = _convolution(before, inner, activation=form.activation)
        self.space = _convolution(
            inner,
            inner,
            kernel=(1 if factorises else frames, pixels, pixels),
            stride=1 + row.halves,
            groups=inner,
            activation=form.activation,
        )
        self.time = CausalConv(inner, kernel=(frames, 1, 1)) if factorises else None
        self.after_time = nn.Sequential()
        if factorises:
            self.after_time.add_module("norm", nn.BatchNorm3d(inner, eps=_EPS))
            self.after_time.add_module("activation", form.activation())
        self.excite = _Excite(inner, form=form)
        self.project = _convolution(inner, after, activation=None)
        self.halves = row.halves
        self.shortcut: nn.Module = nn.Identity()
        if row.halves or before != after:
            self.shortcut = _convolution(before, after, activation=None)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        inner = self.space(self.expand(x))
        if self.time is not None:
            inner = self.after_time(self.time(inner, memory))
        if self.halves:
            x = _halved(x)
        return self.shortcut(x) + self.project(self.excite(inner, memory))


def _halved(x: Tensor) -> Tensor:
    """Means over 3x3 pixels with stride 2, padded as by `PadSame`; padding does not count."""
    padding = (0, x.shape[3] % 2, x.shape[4] % 2)
    return functional.avg_pool3d(x, (1, 3, 3), (1, 2, 2), padding, ceil_mode=True, count_include_pad=False)


class PublishedMovinet(MovinetLayers):
    """Clip `N 3 T H W` -> logits `N K` per label column, of its last frame; base networks take only clips."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[Block],
        stem: int,
        head: int,
        features: int,
        form: _Form,
        options: PublishedMovinetOptions,
    ) -> None:
        super().__init__()
        blocks = deepened(blocks, options.depth)
        halvings = 1 + sum(row.halves for row in blocks)
        # The last halving averages over 3x3 pixels, so it needs three rows and columns.
        video = clip_only(spec, network="MoViNet", least_size=2**halvings + 1)
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(video.mean, video.std)
        self.streams = form.streams
        self.stem = _convolution(3, channels, kernel=(1, 3, 3), stride=2, activation=form.activation)
        self.blocks = nn.ModuleList()
        for row in blocks:
            self.blocks.append(_Residual(channels, row, width=options.width, form=form))
            channels = round_channels(row.channels * options.width)
        widest, last = round_channels(head * options.width), round_channels(features * options.width)
        self.widen = _convolution(channels, widest, activation=form.activation)
        self.features = nn.Sequential(nn.Linear(widest, last), nn.SiLU())
        self.heads = Heads(last, spec, dropout=options.dropout)
        initialise(self)

    def look(self, clip: Tensor, memory: Memory) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of `clip`; `ValueError` for a base network's stream."""
        if memory.is_stream and not self.streams:
            raise ValueError("a base MoViNet sees later frames and cannot stream; use movinet_a0_stream")
        return super().look(clip, memory)


def movinet_a0_base(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A0-Base, published for 50 frames of 172 x 172."""
    return _network(spec, options, blocks=A0, stem=8, head=480, form=_BASE)


def movinet_a1_base(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A1-Base, published for 50 frames of 172 x 172."""
    return _network(spec, options, blocks=A1, stem=16, head=600, form=_BASE)


def movinet_a2_base(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A2-Base, published for 50 frames of 224 x 224."""
    return _network(spec, options, blocks=A2, stem=16, head=640, form=_BASE)


def movinet_base_tiny(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """Three blocks of a base network, for tests: trains in seconds."""
    return _network(spec, options, blocks=TINY, stem=8, head=48, features=64, form=_BASE)


def movinet_a0_stream(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A0-Stream, published for 50 frames of 172 x 172."""
    return _network(spec, options, blocks=A0, stem=8, head=480, form=_STREAM)


def movinet_a1_stream(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A1-Stream, published for 50 frames of 172 x 172."""
    return _network(spec, options, blocks=A1, stem=16, head=600, form=_STREAM)


def movinet_a2_stream(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """MoViNet-A2-Stream, published for 50 frames of 224 x 224."""
    return _network(spec, options, blocks=A2, stem=16, head=640, form=_STREAM)


def movinet_stream_tiny(spec: ClipSpec, options: PublishedMovinetOptions) -> PublishedMovinet:
    """Three blocks of a network for streams, for tests: trains in seconds."""
    return _network(spec, options, blocks=TINY, stem=8, head=48, features=64, form=_STREAM)


def _network(
    spec: ClipSpec,
    options: PublishedMovinetOptions,
    *,
    blocks: Sequence[Block],
    stem: int,
    head: int,
    features: int = 2048,
    form: _Form,
) -> PublishedMovinet:
    return PublishedMovinet(
        spec, blocks=blocks, stem=stem, head=head, features=features, form=form, options=options
    )

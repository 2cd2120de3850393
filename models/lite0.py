"""EfficientNet-Lite0 over frames: pooled over time, or with the temporal shift of TSM.

Sources: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", table 1; the
authors' variant for phones, EfficientNet-Lite (`efficientnet/lite` of tensorflow/tpu): ReLU6 instead of swish, and
no squeeze-excite. Padding and BatchNorm are those of TensorFlow, so that the authors' weights can be loaded. Shifts
as in `models.tsm`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from models.layers import Heads, Normalise, PadSame, clip_only, initialise, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec
from models.streaming import Memory, StreamingNetwork
from models.tsm import Shift

_EPS = 1e-3
"""Added to the variance by BatchNorm in the authors' code."""
Mixing = Literal["none", "both", "past"]
"""Which neighbouring frames a block's shift takes channels from."""


@dataclass(frozen=True, kw_only=True)
class Lite0Options:
    """Size of an EfficientNet-Lite0."""

    width: float = size_factor()
    """Multiplies every number of channels but those of stem and last layer."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every stage, rounded; at least one is left."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """`repeats` blocks of `channels`; the first has the stride over rows and columns."""

    channels: int
    repeats: int
    kernel: int
    stride: int
    expand: int = 6


_PUBLISHED = (
    _Stage(channels=16, repeats=1, kernel=3, stride=1, expand=1),
    _Stage(channels=24, repeats=2, kernel=3, stride=2),
    _Stage(channels=40, repeats=2, kernel=5, stride=2),
    _Stage(channels=80, repeats=3, kernel=3, stride=2),
    _Stage(channels=112, repeats=3, kernel=5, stride=1),
    _Stage(channels=192, repeats=4, kernel=5, stride=2),
    _Stage(channels=320, repeats=1, kernel=3, stride=1),
)
_TINY = (
    _Stage(channels=8, repeats=1, kernel=3, stride=1, expand=1),
    _Stage(channels=16, repeats=2, kernel=5, stride=2, expand=4),
    _Stage(channels=24, repeats=2, kernel=3, stride=2, expand=4),
)


def _convolution(
    before: int, after: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution of single frames, BatchNorm and ReLU6."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = kernel // 2
    if stride > 1:
        layers["pad"], padding = PadSame(kernel, stride), 0
    layers["conv"] = nn.Conv3d(
        before,
        after,
        (1, kernel, kernel),
        stride=(1, stride, stride),
        padding=(0, padding, padding),
        groups=groups,
        bias=False,
    )
    layers["norm"] = nn.BatchNorm3d(after, eps=_EPS)
    if activation:
        layers["activation"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)


class _Residual(nn.Module):
    """Expansion, depthwise convolution, linear projection; blocks with a shortcut may start with a shift."""

    def __init__(self, before: int, after: int, *, stage: _Stage, stride: int, mixing: Mixing) -> None:
        super().__init__()
        hidden = before * stage.expand
        self.expand = _convolution(before, hidden) if stage.expand != 1 else nn.Identity()
        self.depthwise = _convolution(hidden, hidden, kernel=stage.kernel, stride=stride, groups=hidden)
        self.project = _convolution(hidden, after, activation=False)
        self.residual = stride == 1 and before == after
        self.shift = Shift(online=mixing == "past") if self.residual and mixing != "none" else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        inner = x if self.shift is None else self.shift(x, memory)
        inner = self.project(self.depthwise(self.expand(inner)))
        return x + inner if self.residual else inner


class Lite0(StreamingNetwork):
    """Clip `N 3 T H W` -> logits `N K` per label column, of the mean over frames; for streams unless shifts take
    from later frames."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        stages: Sequence[_Stage],
        stem: int,
        head: int,
        mixing: Mixing,
        options: Lite0Options,
    ) -> None:
        super().__init__()
        halvings = 1 + sum(stage.stride == 2 for stage in stages)
        video = clip_only(spec, network="EfficientNet-Lite0", least_size=2**halvings)
        self.normalise = Normalise(video.mean, video.std)
        self.stem = _convolution(3, stem, kernel=3, stride=2)
        self.mixing = mixing
        self.blocks = nn.ModuleList()
        channels = stem
        for stage in stages:
            after = round_channels(stage.channels * options.width)
            for repeat in range(max(1, round(stage.repeats * options.depth))):
                stride = stage.stride if repeat == 0 else 1
                self.blocks.append(_Residual(channels, after, stage=stage, stride=stride, mixing=mixing))
                channels = after
        self.widen = _convolution(channels, head)
        self.heads = Heads(head, spec, dropout=options.dropout)
        initialise(self)

    def look(self, clip: Tensor, memory: Memory) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of `clip`."""
        x = self.stem(self.normalise(clip))
        for block in self.blocks:
            x = block(x, memory)
        return self.heads(memory.mean(self.widen(x).mean((3, 4), keepdim=True)))

    def layers_left_whole(self) -> list[nn.Module]:
        """Layers that must not be pruned, because shifts split their channels by index."""
        if self.mixing == "none":
            return []
        convolutions = [self.stem, *(cast(_Residual, block).project for block in self.blocks)]
        return [layers.get_submodule("conv") for layers in convolutions]


def lite0_frames(spec: ClipSpec, options: Lite0Options) -> Lite0:
    """EfficientNet-Lite0 in its published shape over single frames, published for 224 x 224, pooled over time."""
    return _published(spec, options, mixing="none")


def tsm_lite0(spec: ClipSpec, options: Lite0Options) -> Lite0:
    """EfficientNet-Lite0 with shifts in both directions, for whole clips."""
    return _published(spec, options, mixing="both")


def tsm_lite0_online(spec: ClipSpec, options: Lite0Options) -> Lite0:
    """EfficientNet-Lite0 with shifts from the previous frame only, for streams."""
    return _published(spec, options, mixing="past")


def lite0_frames_tiny(spec: ClipSpec, options: Lite0Options) -> Lite0:
    """Three short stages over single frames, for tests: trains in seconds."""
    return Lite0(spec, stages=_TINY, stem=8, head=48, mixing="none", options=options)


def tsm_lite0_tiny(spec: ClipSpec, options: Lite0Options) -> Lite0:
    """Three short stages with the online shift, for tests: trains in seconds."""
    return Lite0(spec, stages=_TINY, stem=8, head=48, mixing="past", options=options)


def _published(spec: ClipSpec, options: Lite0Options, *, mixing: Mixing) -> Lite0:
    return Lite0(spec, stages=_PUBLISHED, stem=32, head=1280, mixing=mixing, options=options)

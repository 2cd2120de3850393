"""Causal MobileNet (2+1)D: the blocks of `models.mobilenet2plus1d` for streams, one frame at a time.

No frame's features depend on a later frame: kernels in time reach back alone, as in Kondratyuk et al. 2021,
"MoViNets", section 3.2. Time keeps its length, since a stream gives an answer at every frame; there are no running
means but the one in front of the classifiers, so a frame costs little beside its convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, conv_bn, conv_bn_relu6, initialise, round_channels
from models.mobilenet3d import MOBILENET_V2, TINY, Blocks, MobileNet3dOptions, repeats
from models.spec import ClipSpec
from models.streaming import CausalConv, Memory, StreamingNetwork

_FRAMES = 3
"""What a kernel in time spans."""


class _Residual(nn.Module):
    """Expansion, depthwise 1x3x3, depthwise 3x1x1 over the past, projection; added where shapes agree."""

    def __init__(self, before: int, after: int, *, expand: int, stride: int) -> None:
        super().__init__()
        hidden = before * expand
        self.expand = conv_bn_relu6(before, hidden, kernel=(1, 1, 1)) if expand != 1 else nn.Identity()
        self.space = conv_bn_relu6(
            hidden, hidden, kernel=(1, 3, 3), stride=(1, stride, stride), groups=hidden
        )
        self.time = CausalConv(hidden, kernel=(_FRAMES, 1, 1))
        self.after_time = nn.Sequential(nn.BatchNorm3d(hidden), nn.ReLU6(inplace=True))
        self.project = conv_bn(hidden, after, kernel=(1, 1, 1))
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        inner = self.project(self.after_time(self.time(self.space(self.expand(x)), memory)))
        return x + inner if self.residual else inner


class CausalMobileNet(StreamingNetwork):
    """Clip `N 3 T H W` -> logits `N K` per label column, as they are after the clip's last frame."""

    def __init__(
        self, spec: ClipSpec, *, blocks: Sequence[Blocks], stem: int, head: int, options: MobileNet3dOptions
    ) -> None:
        super().__init__()
        halvings = 1 + sum(row.stride[2] == 2 for row in blocks)
        video = clip_only(spec, network="causal MobileNet", least_size=2**halvings)
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(video.mean, video.std)
        self.stem = conv_bn_relu6(3, channels, kernel=(1, 3, 3), stride=(1, 2, 2))
        self.blocks = nn.ModuleList()
        for row in blocks:
            after = round_channels(row.channels * options.width)
            for repeat in range(repeats(row, options.depth)):
                stride = row.stride[2] if repeat == 0 else 1
                self.blocks.append(_Residual(channels, after, expand=row.expand, stride=stride))
                channels = after
        features = round_channels(head * max(1.0, options.width))
        self.widen = conv_bn_relu6(channels, features, kernel=(1, 1, 1))
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self)

    def look(self, clip: Tensor, memory: Memory) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of `clip`."""
        x = self.stem(self.normalise(clip))
        for block in self.blocks:
            x = block(x, memory)
        return self.heads(memory.mean(self.widen(x).mean((3, 4), keepdim=True)))


def mobilenet2plus1d_causal(spec: ClipSpec, options: MobileNet3dOptions) -> CausalMobileNet:
    """The blocks of MobileNetV2, factorised and causal, scaled by `options.width` and `options.depth`."""
    return CausalMobileNet(spec, blocks=MOBILENET_V2, stem=32, head=1280, options=options)


def mobilenet2plus1d_causal_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> CausalMobileNet:
    """Two short stages: for tests, where it trains in seconds."""
    return CausalMobileNet(spec, blocks=TINY, stem=8, head=48, options=options)

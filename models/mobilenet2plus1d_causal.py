"""Causal MobileNet (2+1)D: the blocks of `models.mobilenet2plus1d` for streams, one frame at a time.

Features of a frame do not depend on later frames: temporal kernels are causal, as in Kondratyuk et al. 2021,
"MoViNets", section 3.2. There is no temporal stride, since a stream needs a prediction at every frame; the only
running mean is in front of the classifiers, so a frame costs little more than its convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from models.layers import conv_bn, conv_bn_relu6
from models.mobilenet3d import MOBILENET_V2, TINY, Blocks, MobileNet3dOptions
from models.spec import ClipSpec
from models.streaming import CausalConv, Memory
from models.streaming_mobilenet import StreamingMobileNet

_FRAMES = 3
"""Frames of a temporal kernel."""


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


def mobilenet2plus1d_causal(spec: ClipSpec, options: MobileNet3dOptions) -> StreamingMobileNet:
    """The blocks of MobileNetV2, factorised and causal, scaled by `options.width` and `options.depth`."""
    return _network(spec, options, blocks=MOBILENET_V2, stem=32, head=1280)


def mobilenet2plus1d_causal_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> StreamingMobileNet:
    """Two short stages, for tests: trains in seconds."""
    return _network(spec, options, blocks=TINY, stem=8, head=48)


def _network(
    spec: ClipSpec, options: MobileNet3dOptions, *, blocks: Sequence[Blocks], stem: int, head: int
) -> StreamingMobileNet:
    return StreamingMobileNet(
        spec,
        network="causal MobileNet",
        blocks=blocks,
        stem=stem,
        head=head,
        residual=_Residual,
        options=options,
    )

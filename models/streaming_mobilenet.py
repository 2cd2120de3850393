"""MobileNetV2 with causal inverted residuals: the common base of TSM and the causal MobileNet.

There is no temporal stride, since a stream needs a prediction at every frame. Frames are averaged in front of the
classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from models.layers import Heads, Normalise, clip_only, conv_bn_relu6, initialise, round_channels
from models.mobilenet3d import Blocks, MobileNet3dOptions, repeats
from models.spec import ClipSpec
from models.streaming import Memory, StreamingNetwork


class StreamingMobileNet(StreamingNetwork):
    """Clip `N 3 T H W` -> logits `N K` per label column.

    `residual(before, after, expand=, stride=)` builds one block, which is called with a clip and its memory.
    """

    def __init__(
        self,
        spec: ClipSpec,
        *,
        network: str,
        blocks: Sequence[Blocks],
        stem: int,
        head: int,
        residual: Callable[..., nn.Module],
        options: MobileNet3dOptions,
    ) -> None:
        super().__init__()
        halvings = 1 + sum(row.stride[2] == 2 for row in blocks)
        video = clip_only(spec, network=network, least_size=2**halvings)
        channels = round_channels(stem * options.width)
        self.normalise = Normalise(video.mean, video.std)
        self.stem = conv_bn_relu6(3, channels, kernel=(1, 3, 3), stride=(1, 2, 2))
        self.blocks = nn.ModuleList()
        for row in blocks:
            after = round_channels(row.channels * options.width)
            for repeat in range(repeats(row, options.depth)):
                stride = row.stride[2] if repeat == 0 else 1
                self.blocks.append(residual(channels, after, expand=row.expand, stride=stride))
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

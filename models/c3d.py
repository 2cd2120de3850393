"""C3D: eight 3x3x3 convolutions without BatchNorm, five poolings, two wide linear layers.

Source: Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks", sections 3.2 and
3.3, figure 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.layers import Heads, Normalise, Triple, clip_only, initialise, max_pool_by_two, round_channels
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class C3dOptions:
    """Size of a C3D."""

    width: float = size_factor()
    """Multiplies every number of channels, those of the linear layers too."""
    dropout: float = dropout_share(0.5)
    """Share of features zeroed before the second linear layer and before the classifiers while training."""


_STAGES: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions before each pooling."""
_TINY: tuple[tuple[int, ...], ...] = ((8,), (16,), (16, 24))


class C3d(nn.Module):
    """Clip `N 3 T H W` -> logits `N K` per label column.

    The first linear layer takes every position of the last feature map, so its size depends on the spec's frames
    and size. Time is halved until one frame is left.
    """

    def __init__(
        self, spec: ClipSpec, *, stages: Sequence[Sequence[int]], hidden: int, options: C3dOptions
    ) -> None:
        super().__init__()
        video = clip_only(spec, network="C3D", least_size=2 ** len(stages))
        self.normalise = Normalise(video.mean, video.std)
        layers: list[nn.Module] = []
        channels, extent = 3, (video.frames, video.size, video.size)
        for index, stage in enumerate(stages):
            for count in stage:
                after = round_channels(count * options.width)
                layers += [nn.Conv3d(channels, after, 3, padding=1), nn.ReLU(inplace=True)]
                channels = after
            # The first pooling does not reduce time, to preserve early motion (section 3.2).
            pool, extent = max_pool_by_two(extent, time=index > 0)
            layers.append(pool)
        self.video = nn.Sequential(*layers)
        features = round_channels(hidden * options.width)
        self.hidden = nn.Sequential(
            nn.Linear(channels * _positions(extent), features),
            nn.ReLU(inplace=True),
            nn.Dropout(options.dropout),
            nn.Linear(features, features),
            nn.ReLU(inplace=True),
        )
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self, mode="fan_in")
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        return self.heads(self.hidden(self.video(self.normalise(clip)).flatten(1)))


def c3d(spec: ClipSpec, options: C3dOptions) -> C3d:
    """C3D in its published shape, scaled by `options.width`."""
    return C3d(spec, stages=_STAGES, hidden=4096, options=options)


def c3d_tiny(spec: ClipSpec, options: C3dOptions) -> C3d:
    """Two short stages, for tests: runs in milliseconds."""
    return C3d(spec, stages=_TINY, hidden=16, options=options)


def _positions(extent: Triple) -> int:
    frames, rows, columns = extent
    return frames * rows * columns

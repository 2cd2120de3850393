"""A small audio-visual student: factorised inverted residuals over the video, 2D ones over the log-mel.

The architecture is new, from known parts: inverted residuals (Sandler et al. 2018, "MobileNetV2") with kernels in
space, then in time (Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions"), and the same blocks over the
log-mel spectrogram. Late fusion by one hidden layer over both features (Ngiam et al. 2011, "Multimodal Deep
Learning"), so that every operator runs on every phone runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Heads, Normalise, conv_bn_relu6, initialise, require_size, round_channels
from models.mobilenet3d import Blocks, InvertedResidual3d, MobileNet3dOptions, repeats
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """Blocks between the stems and the classifiers, before scaling."""

    stem: int
    picture: tuple[Blocks, ...]
    sound: tuple[Blocks, ...]
    features: int


_SMALL = _Shape(
    stem=16,
    picture=(
        Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
        Blocks(expand=4, channels=24, repeats=2, stride=(1, 2, 2)),
        Blocks(expand=4, channels=40, repeats=2, stride=(2, 2, 2)),
        Blocks(expand=4, channels=80, repeats=2, stride=(2, 2, 2)),
    ),
    sound=(
        Blocks(expand=1, channels=16, repeats=1, stride=(1, 1, 1)),
        Blocks(expand=4, channels=24, repeats=2, stride=(1, 2, 2)),
        Blocks(expand=4, channels=40, repeats=2, stride=(1, 2, 2)),
    ),
    features=160,
)
_TINY = _Shape(
    stem=8,
    picture=(
        Blocks(expand=1, channels=8, repeats=1, stride=(1, 1, 1)),
        Blocks(expand=4, channels=16, repeats=1, stride=(2, 2, 2)),
    ),
    sound=(Blocks(expand=2, channels=16, repeats=1, stride=(1, 2, 2)),),
    features=32,
)


class AudioVisual(nn.Module):
    """Clip `N 3 T H W`, log-mel `N 1 M B`, or one of them -> logits `N K` per label column."""

    def __init__(self, spec: ClipSpec, *, shape: _Shape, options: MobileNet3dOptions) -> None:
        super().__init__()
        if spec.text is not None:
            raise ValueError(
                f"the audio-visual student takes clip and audio; given: {', '.join(spec.inputs)}"
            )
        stem = round_channels(shape.stem * options.width)
        joined = 0
        self.picture = self.sound = None
        if spec.video is not None:
            require_size(spec.video, network="the audio-visual student", least=_halvings(shape.picture))
            self.normalise = Normalise(spec.video.mean, spec.video.std)
            self.picture = _branch(3, stem, shape.picture, options=options)
            joined += round_channels(shape.picture[-1].channels * options.width)
        if spec.audio is not None:
            least = _halvings(shape.sound)
            if min(spec.audio.mels, spec.audio.bins) < least:
                raise ValueError(
                    f"a log-mel of {spec.audio.mels} x {spec.audio.bins} is too small for the audio-visual "
                    f"student: use at least {least} bands and bins"
                )
            self.sound = _branch(1, stem, shape.sound, options=options)
            joined += round_channels(shape.sound[-1].channels * options.width)
        features = round_channels(shape.features * options.width)
        self.join = nn.Sequential(nn.Linear(joined, features), nn.ReLU(inplace=True))
        self.heads = Heads(features, spec, dropout=options.dropout)
        initialise(self)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column."""
        given = list(inputs)
        means = []
        if self.picture is not None:
            means.append(self.picture(self.normalise(given.pop(0))).mean((2, 3, 4)))
        if self.sound is not None:
            means.append(self.sound(given.pop(0).unsqueeze(2)).mean((2, 3, 4)))
        return self.heads(self.join(torch.cat(means, 1)))


def _branch(before: int, stem: int, rows: Sequence[Blocks], *, options: MobileNet3dOptions) -> nn.Sequential:
    """A stem that halves the resolution, then the blocks; a log-mel is a clip of one frame."""
    layers: list[nn.Module] = [conv_bn_relu6(before, stem, kernel=(1, 3, 3), stride=(1, 2, 2))]
    channels = stem
    for row in rows:
        after = round_channels(row.channels * options.width)
        for repeat in range(repeats(row, options.depth)):
            stride = row.stride if repeat == 0 else (1, 1, 1)
            layers.append(
                InvertedResidual3d(
                    channels, after, expand=row.expand, stride=stride, factorised=True, time=before == 3
                )
            )
            channels = after
    return nn.Sequential(*layers)


def _halvings(rows: Sequence[Blocks]) -> int:
    """Total downsampling factor."""
    return 2 ** (1 + sum(row.stride[2] == 2 for row in rows))


def audiovisual(spec: ClipSpec, options: MobileNet3dOptions) -> AudioVisual:
    """The audio-visual student: for clips of 8 to 16 frames of 64 to 112 pixels, and training on a CPU."""
    return AudioVisual(spec, shape=_SMALL, options=options)


def audiovisual_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> AudioVisual:
    """Two short branches, for tests: trains in seconds."""
    return AudioVisual(spec, shape=_TINY, options=options)

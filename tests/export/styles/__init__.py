"""Small networks in common styles, with their inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.export.styles.attention import Latents, NonLocal, Pooled, TimeSformer, Windows
from tests.export.styles.convolutional import (
    ConvLSTM,
    Gates,
    Inception,
    Octave,
    ShortcutA,
    SkeletonGraph,
    TemporalShift,
    UNet,
    dense_net,
)
from tests.export.styles.several import Chomped, Everything, Forecast, Frames, SlowFast, Views

STYLES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "3D ResNet, shortcuts A": (ShortcutA, (3, 8, 16, 16)),
    "3D DenseNet": (dense_net, (3, 4, 10, 8)),
    "Inception": (Inception, (3, 5, 9, 8)),
    "temporal shift": (TemporalShift, (3, 4, 10, 8)),
    "U-Net": (UNet, (3, 5, 10, 9)),
    "convolutional LSTM": (ConvLSTM, (3, 3, 6, 5)),
    "gates": (Gates, (3, 4, 6, 5)),
    "octave convolution": (Octave, (3, 4, 6, 8)),
    "skeleton graph": (SkeletonGraph, (3, 6, 5, 2)),
    "TimeSformer": (TimeSformer, (3, 8, 8, 12)),
    "shifted windows": (Windows, (3, 6, 10, 14)),
    "pooled attention": (Pooled, (3, 8, 12, 12)),
    "non-local block": (NonLocal, (3, 3, 8, 8)),
    "latents and clusters": (Latents, (3, 3, 8, 6)),
    "SlowFast": (SlowFast, (3, 8, 12, 10)),
    "clip, sound and words": (Everything, (3, 6, 10, 10)),
    "frames and GRU": (Frames, (3, 4, 8, 8)),
    "chomped convolutions": (Chomped, (3, 6, 9, 9)),
    "views": (Views, (6, 6, 5, 4)),
    "forecast": (Forecast, (3, 4, 10, 8)),
}
"""Name -> network and the shape of a clip."""


def inputs_of(name: str, batch: int = 1) -> tuple[Tensor, ...]:
    """Inputs for the network `name`."""
    generator = torch.Generator().manual_seed(batch)
    clip = torch.rand(batch, *STYLES[name][1], generator=generator)
    if name != "clip, sound and words":
        return (clip,)
    text = torch.randint(1, 20, (batch, 5), generator=generator)
    text[:, -1] = 0
    return clip, torch.randn(batch, 1, 12, 16, generator=generator), text

"""Labelled clips that even random features separate: eight moving scenes with varying light."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.spec import ClipSpec, VideoSpec

CLASSES = 8

_CELLS = (3, 7, 7)
"""Cells of a scene along time, rows and columns, between which values are interpolated."""
_CONTRAST = 0.25
"""Standard deviation of the pixels of a scene, with mean 0.5."""
_CONTRAST_CHANGE, _BRIGHTNESS_CHANGE = 0.1, 0.03
"""Largest change of light between clips of one scene."""
_NOISE = 0.03
"""Standard deviation of the pixel noise."""


def scene_clips(video: VideoSpec, *, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips float32 `N 3 T H W` in 0..1 and their classes, int64 `N`, in cyclic order.

    A class is a scene of smooth moving coloured shapes, the same for every seed. Clips differ in light and noise.
    """
    scenes = _scenes(video)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    change = torch.empty(2, count, 1, 1, 1, 1).uniform_(-1, 1, generator=generator)
    clips = scenes[labels] * (1 + _CONTRAST_CHANGE * change[0])
    clips += 0.5 + _BRIGHTNESS_CHANGE * change[1]
    clips += _NOISE * torch.randn(clips.shape, generator=generator)
    return clips.clamp_(0, 1), labels


def scene_inputs(spec: ClipSpec, *, count: int, seed: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """Video and audio inputs of a network, in `forward`'s order, and their classes.

    Each scene has its own sound with noise, float32 `N 1 mels bins`.
    """
    assert spec.video is not None
    clips, labels = scene_clips(spec.video, count=count, seed=seed)
    inputs = {"clip": clips}
    if spec.audio is not None:
        one = spec.shape("audio")[1:]
        sounds = torch.randn(CLASSES, *one, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(count, *one, generator=torch.Generator().manual_seed(seed))
        inputs["audio"] = sounds[labels] + noise
    return tuple(inputs[name] for name in spec.inputs), labels


def _scenes(video: VideoSpec) -> Tensor:
    coarse = torch.randn(CLASSES, 3, *_CELLS, generator=torch.Generator().manual_seed(0))
    size = (video.frames, video.size, video.size)
    scenes = interpolate(coarse, size=size, mode="trilinear", align_corners=True)
    return _CONTRAST * scenes / scenes.std((1, 2, 3, 4), keepdim=True)

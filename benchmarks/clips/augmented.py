"""Applies drawn augmentations to decoded frames and log-mel spectrograms."""

from __future__ import annotations

from math import log

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.clips.augmentation import Draw

_LUMA = (0.299, 0.587, 0.114)
"""Weights of the colours in the brightness of a pixel: ITU-R BT.601."""
_SILENCE = log(1e-6)


def cropped(
    stored: np.ndarray,
    places: np.ndarray,
    *,
    frames: int,
    size: int,
    drawn: Draw | None,
) -> np.ndarray:
    """Frames of the clips at `places`, uint8 `N T S S 3`, from decoded ones, `* U R R 3` with U >= T, R >= S.

    Without `drawn`, the centre in space and time.
    """
    times = _times(stored.shape[1], frames, clips=len(places), drawn=drawn)
    consecutive = (np.diff(times, axis=1) == 1).all(1)
    boxes = _boxes(stored.shape[2], size, clips=len(places), drawn=drawn)
    pixels = np.empty((len(places), frames, size, size, 3), np.uint8)
    for number, (place, (top, left, height, width)) in enumerate(zip(places, boxes, strict=True)):
        first, last = times[number].min(), times[number].max()
        window = stored[place, first : last + 1, top : top + height, left : left + width]
        taken = window if consecutive[number] else window[times[number] - first]
        if drawn is not None and drawn.flip[number]:
            taken = taken[:, :, ::-1]
        pixels[number] = taken if (height, width) == (size, size) else _resized(taken, size)
    return pixels


def _times(stored: int, frames: int, *, clips: int, drawn: Draw | None) -> np.ndarray:
    """Positions `N T` in the decoded frames: the middle ones, moved and stretched; the outermost are repeated."""
    steps = np.arange(frames) - (frames - 1) / 2
    if drawn is None:
        times = np.broadcast_to(steps, (clips, frames))
    else:
        times = drawn.speed[:, None] * steps + np.rint(frames * drawn.later)[:, None]
    return np.rint(times + (stored - 1) / 2).astype(int).clip(0, stored - 1)


def _boxes(resize: int, size: int, *, clips: int, drawn: Draw | None) -> np.ndarray:
    """Crops `N 4` in pixels: top, left, height, width."""
    if drawn is None:
        middle = (resize - size) // 2
        return np.tile([middle, middle, size, size], (clips, 1))
    if drawn.area is None:
        sides = np.full((2, clips), size)
    else:
        heights, widths = np.sqrt(drawn.area / drawn.ratio), np.sqrt(drawn.area * drawn.ratio)
        sides = np.rint(resize * np.stack([heights, widths])).astype(int).clip(1, resize)
    room = resize - sides
    corners = np.minimum(np.stack([drawn.top, drawn.left]) * (room + 1), room).astype(int)
    return np.concatenate([corners, sides]).T


def _resized(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames `T H W 3` as `T S S 3`, bilinear with antialiasing."""
    given = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    found = F.interpolate(given, (size, size), mode="bilinear", antialias=True)
    return found.permute(0, 2, 3, 1).numpy()


def coloured(clip: Tensor, drawn: Draw, *, mean: tuple[float, float, float]) -> Tensor:
    """Changes `clip`, float32 `N 3 T S S` in 0..1, in place: its colours, and hidden rectangles."""

    def each(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float().view(-1, 1, 1, 1, 1)

    if (drawn.saturation != 1).any():
        grey = (clip * torch.tensor(_LUMA).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
        clip.sub_(grey).mul_(each(drawn.saturation)).add_(grey)
    clip.sub_(0.5).mul_(each(drawn.contrast)).add_(0.5 + each(drawn.brightness)).clamp_(0, 1)
    colour = torch.tensor(mean).view(3, 1, 1, 1)
    for number in np.flatnonzero(drawn.hidden[:, 2]):
        top, left, height, width = np.rint(drawn.hidden[number] * clip.shape[-1]).astype(int)
        clip[number, :, :, top : top + height, left : left + width] = colour
    return clip


def moved(sound: np.ndarray, drawn: Draw) -> np.ndarray:
    """Log-mel spectrograms `N M B` with another gain, shifted in time; edge values are repeated."""
    bins = sound.shape[2]
    source = np.arange(bins)[None] - np.rint(drawn.shift * bins).astype(int)[:, None]
    taken = np.take_along_axis(sound, source.clip(0, bins - 1)[:, None], axis=2)
    return np.maximum(taken + drawn.gain[:, None, None], _SILENCE).astype(np.float32)


def masked(sound: np.ndarray, drawn: Draw, *, mean: float) -> np.ndarray:
    """Log-mel spectrograms `N M B` with masked times and bands set to `mean`; missing audio remains silent."""
    bands, bins = (
        _covered(masks, count)
        for masks, count in ((drawn.frequency_masks, sound.shape[1]), (drawn.time_masks, sound.shape[2]))
    )
    present = np.ptp(sound, axis=(1, 2)) > 0  # missing audio is constant
    hidden = (bands[:, :, None] | bins[:, None]) & present[:, None, None]
    return np.where(hidden, np.float32(mean), sound)


def _covered(masks: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` cells the masks `N M 2` cover, `N count`."""
    starts, ends = np.rint(masks[..., 0] * count), np.rint((masks[..., 0] + masks[..., 1]) * count)
    cells = np.arange(count)
    covered: np.ndarray = ((cells >= starts[..., None]) & (cells < ends[..., None])).any(1)
    return covered

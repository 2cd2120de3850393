"""Deterministic augmentation of clips.

An augmentation depends on (seed, number, index of the clip) alone, so that the logits of a teacher can be cached
and compared with a student that gets exactly the same inputs. There is no mirroring: left and right may be
classes.

An augmentation may also corrupt clips, for the student alone: the teacher gets the clean version (Xie et al. 2020,
"Self-training with Noisy Student improves ImageNet classification").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np

from benchmarks.clips.corruptions import SEVERITIES, Condition

_BRIGHTNESS = 0.12
"""Largest change of pixels, in 0..1."""
_CONTRAST = 1.25
"""Largest factor of the contrast around middle grey; the smallest is its inverse."""
_GAIN = 1.0
"""Largest change of the logarithm of power: about 4 dB."""
_TIME_SHIFT = 0.04
"""Largest shift of audio in time, as a share of the clip."""
_CORRUPTED = 0.5
"""Share of the clips that an augmentation with corruptions corrupts."""
_SILENCE = log(1e-6)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation `number` of the family given by `seed`."""

    number: int
    seed: int
    corruptions: tuple[str, ...] = ()
    """Names of `CORRUPTIONS`: on average, every second clip gets one of them at a random severity."""

    @property
    def clean(self) -> Augmentation:
        """The same augmentation without corruptions."""
        return replace(self, corruptions=())


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The drawn parameters of an augmentation for each of N clips; all arrays have length N."""

    top: np.ndarray
    left: np.ndarray
    """Upper left corner of the crop, in 0..1 of the available range."""
    brightness: np.ndarray
    contrast: np.ndarray
    gain: np.ndarray
    shift: np.ndarray
    """Shift of audio to later times, as a share of the clip."""


def draw(augmentation: Augmentation, indices: Sequence[int] | np.ndarray) -> Draw:
    """Draws the parameters of the clips at `indices`."""
    even = np.array(
        [
            np.random.default_rng((augmentation.seed, augmentation.number, int(index))).random(6)
            for index in indices
        ]
    )
    even = even.reshape(-1, 6)
    around = 2 * even - 1
    return Draw(
        top=even[:, 0],
        left=even[:, 1],
        brightness=_BRIGHTNESS * around[:, 2],
        contrast=_CONTRAST ** around[:, 3],
        gain=_GAIN * around[:, 4],
        shift=_TIME_SHIFT * around[:, 5],
    )


def drawn_conditions(
    augmentation: Augmentation, indices: Sequence[int] | np.ndarray
) -> list[Condition | None]:
    """The corruption of each of the clips at `indices`; None for a clean clip."""
    found: list[Condition | None] = []
    for index in indices:
        random = np.random.default_rng(
            (augmentation.seed, augmentation.number, int(index), len(augmentation.corruptions))
        )
        if not augmentation.corruptions or random.random() >= _CORRUPTED:
            found.append(None)
            continue
        name = augmentation.corruptions[random.integers(len(augmentation.corruptions))]
        severity = int(random.choice(SEVERITIES))
        found.append(Condition(name=name, severity=severity, seed=int(random.integers(2**31))))
    return found


def moved(sound: np.ndarray, drawn: Draw) -> np.ndarray:
    """Log-mel spectrograms `N M B` with another gain, shifted in time; edge values are repeated."""
    bins = sound.shape[2]
    source = np.arange(bins)[None] - np.rint(drawn.shift * bins).astype(int)[:, None]
    taken = np.take_along_axis(sound, source.clip(0, bins - 1)[:, None], axis=2)
    return np.maximum(taken + drawn.gain[:, None, None], _SILENCE).astype(np.float32)

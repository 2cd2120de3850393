"""Views: augmented versions of clips, the same pixels and sounds for everyone who asks for the same view.

A view is drawn from (seed, view number, index of the clip) alone, so that answers of a teacher to a view can be
kept and given to a student that sees exactly that view. There is no mirroring: left and right may be classes.

A view may also corrupt clips. That is for the student alone: its teacher answers to the clean view (Xie et al.
2020, "Self-training with Noisy Student improves ImageNet classification").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np

from benchmarks.clips.corruptions import SEVERITIES, Condition

_BRIGHTNESS = 0.12
"""Added to pixels in 0..1, at most."""
_CONTRAST = 1.25
"""Factor around the middle grey, at most; its inverse at least."""
_GAIN = 1.0
"""Added to the logarithm of power, at most: about 4 dB."""
_TIME_SHIFT = 0.04
"""Share of a clip by which sound is moved, at most."""
_CORRUPTED = 0.5
"""Share of the clips that a view with corruptions corrupts."""
_SILENCE = log(1e-6)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation `number` of the family that `seed` names."""

    number: int
    seed: int
    corruptions: tuple[str, ...] = ()
    """Names of `CORRUPTIONS`: every second clip, on the average, gets one of them at one of the severities."""

    @property
    def clean(self) -> Augmentation:
        """The same view without corruptions."""
        return replace(self, corruptions=())


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a view does to each of N clips; all arrays have length N."""

    top: np.ndarray
    left: np.ndarray
    """Upper left corner of the cut, in 0..1 of the room that there is."""
    brightness: np.ndarray
    contrast: np.ndarray
    gain: np.ndarray
    shift: np.ndarray
    """Share of the clip by which sound is moved to later."""


def draw(augmentation: Augmentation, indices: Sequence[int] | np.ndarray) -> Draw:
    """What `view` does to the clips at `indices`."""
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
    """What corrupts each of the clips at `indices`; None leaves it clean."""
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
    """Log-mel pictures `N M B`, louder or quieter and moved in time; edges are repeated where sound moved away."""
    bins = sound.shape[2]
    source = np.arange(bins)[None] - np.rint(drawn.shift * bins).astype(int)[:, None]
    taken = np.take_along_axis(sound, source.clip(0, bins - 1)[:, None], axis=2)
    return np.maximum(taken + drawn.gain[:, None, None], _SILENCE).astype(np.float32)

"""Deterministic augmentation of clips: settings, and the parameters drawn for each clip.

An augmentation depends on (seed, number, index of the clip) alone, so that the logits of a teacher can be cached
and compared with a student that gets exactly the same inputs.

An augmentation may also corrupt clips, for the student alone: the teacher gets the clean version (Xie et al. 2020,
"Self-training with Noisy Student improves ImageNet classification").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.clips.corruptions import SEVERITIES, Condition

_CORRUPTED = 0.5
"""Share of the clips that an augmentation with corruptions corrupts."""
MOST_MASKS = 8
_CropArea = Annotated[float, Field(ge=0.01, le=1.0)]
_CropRatio = Annotated[float, Field(ge=0.1, le=10.0)]
_HiddenArea = Annotated[float, Field(ge=0.001, le=0.9)]


def _within(default: float | int | None, least: float, most: float) -> Any:
    """A setting from `least` to `most`, which pydantic reads from the metadata when it parses a recipe."""
    return field(default=default, metadata={"ge": least, "le": most})


def _check_range(name: str, given: tuple[float, float], *, least: float, most: float) -> None:
    if not least <= given[0] <= given[1] <= most:
        raise ValueError(
            f"{name} is {list(given)}; give [least, most] with {least} <= least <= most <= {most}"
        )


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop:
    """A crop of random area and shape, resized to the size of the clip (Szegedy et al. 2015)."""

    scale: tuple[_CropArea, _CropArea] = (0.5, 1.0)
    """Least and largest area, as a share of the decoded frame (`clip.resize`)."""
    ratio: tuple[_CropRatio, _CropRatio] = (0.75, 1.33)
    """Least and largest width, as a multiple of the height."""

    def __post_init__(self) -> None:
        _check_range("scale", self.scale, least=0.01, most=1.0)
        _check_range("ratio", self.ratio, least=0.1, most=10.0)


@dataclass(frozen=True, kw_only=True)
class Temporal:
    """Jitter of the frames in time; audio has its own shift."""

    shift: float = _within(0.0, 0.0, 0.5)
    """Largest shift to earlier or later frames, as a share of the clip: 0.125 is one frame of 8. Frames beyond
    `clip.margin` repeat the outermost one."""
    speed: float = _within(0.0, 0.0, 3.0)
    """Largest change of the speed: its largest factor is 1 + this, its smallest the inverse."""


@dataclass(frozen=True, kw_only=True)
class Color:
    """Changes of colour, the same in all frames of a clip."""

    brightness: float = _within(0.12, 0.0, 1.0)
    """Largest change of pixels, in 0..1."""
    contrast: float = _within(0.25, 0.0, 3.0)
    """Largest change of the contrast around grey: its largest factor is 1 + this, its smallest the inverse."""
    saturation: float = _within(0.0, 0.0, 3.0)
    """Largest change of the saturation, as for the contrast."""


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """A rectangle of the mean colour, the same in all frames (Zhong et al. 2020, "Random Erasing")."""

    probability: float = _within(0.25, 0.0, 1.0)
    """Share of the clips that have one."""
    scale: tuple[_HiddenArea, _HiddenArea] = (0.02, 0.2)
    """Least and largest area, as a share of the clip."""

    def __post_init__(self) -> None:
        _check_range("scale", self.scale, least=0.001, most=0.9)


@dataclass(frozen=True, kw_only=True)
class AudioAugmentation:
    """Augmentation of log-mel spectrograms; masks as in SpecAugment (Park et al. 2019)."""

    gain: float = _within(1.0, 0.0, 10.0)
    """Largest change of the logarithm of power; 1 is about 4 dB."""
    shift: float = _within(0.04, 0.0, 0.5)
    """Largest shift in time, as a share of the clip."""
    time_masks: int = _within(0, 0, MOST_MASKS)
    """Number of masked intervals of time."""
    time_mask_width: float = _within(0.1, 0.0, 1.0)
    """Largest width of such an interval, as a share of the clip."""
    frequency_masks: int = _within(0, 0, MOST_MASKS)
    """Number of masked ranges of mel bands."""
    frequency_mask_width: float = _within(0.2, 0.0, 1.0)
    """Largest width of such a range, as a share of the bands."""


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """How training clips are augmented; teacher and student get the same augmentation of a clip."""

    random_crop: bool = True
    """Crop at a random position of the decoded frame (`clip.resize`), instead of its centre."""
    random_resized_crop: RandomResizedCrop | None = None
    """Crop of random area and shape; null keeps the scale."""
    horizontal_flip: Literal[False, True, "force"] = False
    """Mirror every second clip. Refused if names of classes contain left or right, unless `force`."""
    temporal: Temporal = Temporal()
    """Jitter of the frames in time."""
    color: Color = Color()
    """Changes of colour."""
    cutout: Cutout | None = None
    """Hide a rectangle of some clips."""
    mixup: float | None = _within(None, 0.001, 100.0)
    """Mix two clips of a batch with shares from Beta(this, this); labels and teacher follow. 0.2 is usual."""
    cutmix: float | None = _within(None, 0.001, 100.0)
    """Replace a rectangle by that of another clip of the batch, of an area from Beta(this, this). With `mixup`,
    every batch has one of the two."""
    audio: AudioAugmentation = AudioAugmentation()
    """Augmentation of audio."""

    def __post_init__(self) -> None:
        if self.random_resized_crop is not None and not self.random_crop:
            raise ValueError(
                "random_resized_crop has a random position, but random_crop is false; omit one of them"
            )

    @property
    def mixes(self) -> bool:
        """Whether clips of a batch are mixed with each other."""
        return self.mixup is not None or self.cutmix is not None


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation `number` of the family given by `seed` and `settings`."""

    number: int
    seed: int
    corruptions: tuple[str, ...] = ()
    """Names of `CORRUPTIONS`: on average, every second clip gets one of them at a random severity."""
    settings: AugmentationSettings = AugmentationSettings()

    @property
    def clean(self) -> Augmentation:
        """The same augmentation of single clips: without corruptions, and without mixing."""
        return replace(self, corruptions=(), settings=replace(self.settings, mixup=None, cutmix=None))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The drawn parameters of an augmentation for each of N clips; all arrays have length N."""

    top: np.ndarray
    left: np.ndarray
    """Upper left corner of the crop, in 0..1 of the available range."""
    area: np.ndarray | None
    """Area of the crop as a share of the decoded frame; None keeps the scale."""
    ratio: np.ndarray
    """Width of the crop as a multiple of its height."""
    flip: np.ndarray
    """Whether the clip is mirrored."""
    later: np.ndarray
    """Shift to later frames, as a share of the clip."""
    speed: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    saturation: np.ndarray
    hidden: np.ndarray
    """`N 4`: top, left, height and width of the hidden rectangle in 0..1; zeros for none."""
    gain: np.ndarray
    shift: np.ndarray
    """Shift of audio to later times, as a share of the clip."""
    time_masks: np.ndarray
    """`N M 2`: start and width of the masked intervals of time, as shares of the clip."""
    frequency_masks: np.ndarray
    """`N M 2`: start and width of the masked ranges of bands, as shares of the bands."""


_COUNT = 16
"""Random numbers of a clip, without those of masks."""


def draw(augmentation: Augmentation, indices: Sequence[int] | np.ndarray) -> Draw:
    """Draws the parameters of the clips at `indices`."""
    settings = augmentation.settings
    audio, count = settings.audio, settings.audio.time_masks + settings.audio.frequency_masks
    even = np.array(
        [
            np.random.default_rng((augmentation.seed, augmentation.number, int(index))).random(
                _COUNT + 2 * count
            )
            for index in indices
        ]
    ).reshape(-1, _COUNT + 2 * count)
    around = 2 * even - 1
    crop, middle = settings.random_resized_crop, np.full(len(even), np.nextafter(0.5, 0))  # rounded down
    masks = even[:, _COUNT:].reshape(len(even), count, 2)
    return Draw(
        top=even[:, 0] if settings.random_crop else middle,
        left=even[:, 1] if settings.random_crop else middle,
        area=None if crop is None else crop.scale[0] + even[:, 6] * (crop.scale[1] - crop.scale[0]),
        ratio=np.ones(len(even))
        if crop is None
        else crop.ratio[0] * (crop.ratio[1] / crop.ratio[0]) ** even[:, 7],
        flip=(even[:, 8] < 0.5) & bool(settings.horizontal_flip),
        later=settings.temporal.shift * around[:, 9],
        speed=(1 + settings.temporal.speed) ** around[:, 10],
        brightness=settings.color.brightness * around[:, 2],
        contrast=(1 + settings.color.contrast) ** around[:, 3],
        saturation=(1 + settings.color.saturation) ** around[:, 11],
        hidden=_hidden(settings.cutout, even[:, 12:16]),
        gain=audio.gain * around[:, 4],
        shift=audio.shift * around[:, 5],
        time_masks=_masks(masks[:, : audio.time_masks], audio.time_mask_width),
        frequency_masks=_masks(masks[:, audio.time_masks :], audio.frequency_mask_width),
    )


def _hidden(cutout: Cutout | None, even: np.ndarray) -> np.ndarray:
    """Rectangles `N 4` from random numbers `N 4`: whether, area, top, left; the shape is that of the clip."""
    if cutout is None:
        return np.zeros((len(even), 4))
    side = np.sqrt(cutout.scale[0] + even[:, 1] * (cutout.scale[1] - cutout.scale[0]))
    boxes = np.stack([even[:, 2] * (1 - side), even[:, 3] * (1 - side), side, side], axis=1)
    return boxes * (even[:, :1] < cutout.probability)


def _masks(even: np.ndarray, widest: float) -> np.ndarray:
    """Masks `N M 2` from random numbers of this shape."""
    width = widest * even[..., 1]
    return np.stack([even[..., 0] * (1 - width), width], axis=-1)


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

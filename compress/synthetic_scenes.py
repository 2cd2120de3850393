"""Content of synthetic clips: frames, audio and caption of a shape with one of eight motions.

At the middle of a clip, position, size, colour and background of the shape have the same distribution for all
classes, so that single frames do not suffice. Sources of difficulty:

- video: pixel noise, occluding bars, frames without the shape, small motions, directions turned towards a
  neighbouring class; low contrast in some clips;
- audio: each class has a pitch contour and a timbre, with noise; some clips have only noise;
- text: the caption names the motion, is vague, or is missing.

The modalities fail in different clips, so a network with all three is better than with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIDE = 72
"""Height and width of a frame in pixels."""
SAMPLE_RATE_HZ = 16_000
SECONDS = 1.0

OPPOSITE = {
    "approach": "recede",
    "move_down": "move_up",
    "move_left": "move_right",
    "move_right": "move_left",
    "move_up": "move_down",
    "orbit_clockwise": "orbit_counterclockwise",
    "orbit_counterclockwise": "orbit_clockwise",
    "recede": "approach",
}
"""Each class with the most easily confused one: the same motion backwards."""
CLASSES = tuple(OPPOSITE)

TAGS = {
    "approach": ("depth",),
    "move_down": ("straight", "vertical"),
    "move_left": ("straight", "sideways"),
    "move_right": ("straight", "sideways"),
    "move_up": ("straight", "vertical"),
    "orbit_clockwise": ("turning",),
    "orbit_counterclockwise": ("turning",),
    "recede": ("depth",),
    "ball": ("round",),
    "box": ("cornered",),
    "diamond": ("cornered",),
    "ring": ("round", "hollow"),
}
"""Tags of a clip: the words of its motion and of its thing."""

_DIRECTION = {"move_right": 0.0, "move_down": 0.5, "move_left": 1.0, "move_up": 1.5}
"""Angle of the motion in units of pi, y downwards."""

_CAPTIONS = {
    "approach": ("the {thing} comes closer", "a {thing} approaching the camera", "the {thing} gets bigger"),
    "move_down": ("the {thing} moves down", "a {thing} sinking", "the {thing} goes to the bottom"),
    "move_left": ("the {thing} moves left", "a {thing} going to the left", "the {thing} drifts leftwards"),
    "move_right": (
        "the {thing} moves right",
        "a {thing} going to the right",
        "the {thing} drifts rightwards",
    ),
    "move_up": ("the {thing} moves up", "a {thing} rising", "the {thing} goes to the top"),
    "orbit_clockwise": ("the {thing} circles clockwise", "a {thing} turning round clockwise"),
    "orbit_counterclockwise": (
        "the {thing} circles counterclockwise",
        "a {thing} turning round counterclockwise",
    ),
    "recede": ("the {thing} goes away", "a {thing} receding from the camera", "the {thing} gets smaller"),
}
_VAGUE = ("a {thing} in motion", "something with a {thing}", "the {thing} does something", "a moving {thing}")
THINGS = ("ball", "box", "diamond", "ring")


@dataclass(frozen=True, kw_only=True)
class Hardness:
    """Parameters derived from `difficulty`. Probabilities are per clip unless stated otherwise."""

    pixel_noise: float
    """Standard deviation, for pixels in 0..1."""
    bars: float
    """Mean number of occluding bars."""
    unseen: float
    """Probability that the shape is missing, per frame."""
    faint: float
    """Probability of low contrast in the whole clip."""
    smallest_motion: float
    """Smallest share of the full motion."""
    turned: float
    """Largest angle between a motion and the direction of its class, in units of pi; 0.25 is the class border."""
    distractors: float
    """Mean number of trembling shapes."""
    sound_noise: float
    """Standard deviation, for a signal with a peak of about 0.3."""
    sound_lost: float
    """Probability that the audio is only noise."""
    caption_vague: float
    caption_missing: float
    wrong_label: float
    """Probability of a wrong label; training rows only."""

    @classmethod
    def of(cls, difficulty: float) -> Hardness:
        """The parameters, proportional to the difficulty."""
        return cls(
            pixel_noise=0.01 + 0.08 * difficulty,
            bars=2.0 * difficulty,
            unseen=0.25 * difficulty,
            faint=0.06 * difficulty,
            smallest_motion=1.0 - 0.6 * difficulty,
            turned=0.02 + 0.24 * difficulty,
            distractors=3.0 * difficulty,
            sound_noise=0.01 + 0.1 * difficulty,
            sound_lost=0.04 * difficulty,
            caption_vague=0.4 * difficulty,
            caption_missing=0.3 * difficulty,
            wrong_label=0.52 * difficulty,
        )


def draw_frames(
    motion: str, thing: str, hard: Hardness, random: np.random.Generator, *, frames: int
) -> np.ndarray:
    """Frames of one clip, uint8 `T H W 3`."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    picture = np.repeat(_background(random, x, y)[None], frames, axis=0)
    for _ in range(random.poisson(hard.distractors)):
        at = random.uniform(8, SIDE - 8, 2) + np.cumsum(random.normal(0, 1.2, (frames, 2)), axis=0)
        at += random.uniform(8, SIDE - 8, 2) - at[frames // 2]
        sizes = random.uniform(4, 9) * np.exp(0.05 * random.normal(size=frames))
        kind = THINGS[random.integers(len(THINGS))]
        _paint(picture, _mask(kind, at, sizes, x, y), random.uniform(0, 1, 3))
    at, sizes = path(motion, hard, random, frames=frames)
    mask = _mask(thing, at, sizes, x, y)
    mask *= (random.random(frames) >= hard.unseen)[:, None, None]
    if random.random() < hard.faint:
        mask *= 0.12
    _paint(picture, mask, _contrasting(random, picture.mean(axis=(0, 1, 2))))
    for _ in range(random.poisson(hard.bars)):
        across = x if random.random() < 0.5 else y
        at_bar, width = random.uniform(6, SIDE - 6), random.uniform(4, 9)
        bar = np.repeat((np.abs(across - at_bar) < width / 2)[None], frames, axis=0)
        _paint(picture, bar.astype(np.float32), random.uniform(0, 1, 3))
    picture += np.float32(hard.pixel_noise) * random.standard_normal(picture.shape, dtype=np.float32)
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def path(
    motion: str, hard: Hardness, random: np.random.Generator, *, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Position of the shape, `T 2` as (x, y) in pixels, and its radius, `T`; class-independent at the middle."""
    middle = random.uniform(24, SIDE - 24, 2)
    radius = random.uniform(7, 11)
    size = random.uniform(hard.smallest_motion, 1.0)
    turned = math.pi * random.uniform(-hard.turned, hard.turned)
    turn = random.uniform(0, 2 * math.pi)
    tremble = random.normal(0, 0.5, (frames, 2))
    time = np.linspace(-0.5, 0.5, frames)
    at = np.repeat(middle[None], frames, axis=0) + tremble
    sizes = np.full(frames, radius)
    if motion in _DIRECTION:
        angle = math.pi * _DIRECTION[motion] + turned
        at += 30 * size * time[:, None] * np.array([math.cos(angle), math.sin(angle)])
    elif motion in ("approach", "recede"):
        sizes = radius * np.exp((1 if motion == "approach" else -1) * 1.2 * size * time)
    else:
        angles = turn + (1 if motion == "orbit_clockwise" else -1) * 1.7 * math.pi * max(size, 0.5) * time
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        at += 11 * (circle - np.array([math.cos(turn), math.sin(turn)]))
    return at, sizes


def draw_sound(motion: str, hard: Hardness, random: np.random.Generator) -> np.ndarray:
    """Mono audio of one clip, float32 in -1..1: each class has a pitch contour, a loudness and a timbre."""
    samples = round(SAMPLE_RATE_HZ * SECONDS)
    time = np.arange(samples) / samples
    base_hz = random.uniform(220, 380)
    octaves, loudness, harmonics = {
        "approach": (0.1 * time, 0.15 + 0.85 * time**2, (1, 2, 3, 4, 5)),
        "move_down": (0.6 - 1.2 * time, np.ones(samples), (1, 2)),
        "move_left": (np.where(time < 0.5, 0.4, -0.4), np.ones(samples), (1, 3, 5)),
        "move_right": (np.where(time < 0.5, -0.4, 0.4), np.ones(samples), (1, 3, 5)),
        "move_up": (1.2 * time - 0.6, np.ones(samples), (1, 2)),
        "orbit_clockwise": (0.35 * np.sin(2 * np.pi * 2 * time), np.ones(samples), (1, 2, 4)),
        "orbit_counterclockwise": (0.35 * np.sin(2 * np.pi * 5 * time), np.ones(samples), (1, 2, 4)),
        "recede": (-0.1 * time, 1 - 0.85 * time**0.5, (1, 2, 3, 4, 5)),
    }[motion]
    phase = 2 * np.pi * np.cumsum(base_hz * 2**octaves) / SAMPLE_RATE_HZ
    tone = sum(np.sin(k * phase) / k for k in harmonics)
    level = 0.0 if random.random() < hard.sound_lost else random.uniform(0.1, 0.25)
    noise = hard.sound_noise * random.standard_normal(samples)
    return (level * loudness * tone + noise).clip(-1, 1).astype(np.float32)


def draw_caption(motion: str, thing: str, hard: Hardness, random: np.random.Generator) -> str:
    """A sentence that names the motion, a vague one, or an empty one."""
    fate = random.random()
    if fate < hard.caption_missing:
        return ""
    sentences = _VAGUE if fate < hard.caption_missing + hard.caption_vague else _CAPTIONS[motion]
    return sentences[random.integers(len(sentences))].format(thing=thing)


def _background(random: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A still texture of a few waves, float32 `H W 3`."""
    texture = np.full((SIDE, SIDE, 3), 0.0, np.float32) + random.uniform(0.25, 0.75, 3).astype(np.float32)
    for _ in range(3):
        across, down = random.uniform(-0.5, 0.5, 2)
        wave = np.sin(across * x + down * y + random.uniform(0, 2 * math.pi))
        texture += wave[..., None] * random.uniform(-0.08, 0.08, 3).astype(np.float32)
    return texture


def _contrasting(random: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A colour that is clearly brighter or darker than the background."""
    brightness = 0.1 if background.mean() > 0.5 else 0.9
    return (brightness + random.uniform(-0.15, 0.15, 3)).clip(0, 1)


def _mask(thing: str, at: np.ndarray, sizes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coverage of each pixel by the shape, float32 `T H W` in 0..1, with soft edges."""
    across = np.abs(x[None] - at[:, 0, None, None].astype(np.float32))
    down = np.abs(y[None] - at[:, 1, None, None].astype(np.float32))
    radius = sizes[:, None, None].astype(np.float32)
    if thing == "box":
        inside = 0.85 * radius - np.maximum(across, down)
    elif thing == "diamond":
        inside = (1.2 * radius - across - down) / np.float32(math.sqrt(2))
    elif thing == "ring":
        inside = 0.3 * radius - np.abs(np.hypot(across, down) - 0.75 * radius)
    else:
        inside = radius - np.hypot(across, down)
    return (inside + 0.5).clip(0, 1)


def _paint(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Blends a colour into the frames `T H W 3`, in place."""
    for channel in range(3):
        picture[..., channel] += mask * (np.float32(colour[channel]) - picture[..., channel])

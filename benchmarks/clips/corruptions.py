"""Corruptions of clips by cameras, transmission and annotation, at severities 1 to 3.

Every function is deterministic in its values, level and generator. Video is uint8 `T H W C`.

Concept and levels of noise, brightness and contrast (their severities 1, 3 and 5): Hendrycks & Dietterich 2019,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"; video compression and dropped
frames: Yi et al. 2021, "Benchmarking the Robustness of Spatial-Temporal Models Against Corruptions"; the other
levels, missing audio and wrong captions are Pocketreel's.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal, cast
from zlib import crc32

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from scipy.ndimage import gaussian_filter

SEVERITIES = (1, 2, 3)
_IMAGENET_SIDE = 224
"""Frame size in pixels to which the levels of blur refer."""
_SILENCE = log(1e-6)


def noise(clip: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Independent Gaussian noise in every frame, pixels in 0..1: a sensor in low light."""
    return _pixels(clip / 255 + random.normal(scale=deviation, size=clip.shape))


def blur(clip: np.ndarray, deviation: float, _: np.random.Generator) -> np.ndarray:
    """Gaussian blur, in pixels of a frame of 224 pixels: defocus."""
    pixels = deviation * clip.shape[1] / _IMAGENET_SIDE
    return _pixels(gaussian_filter(clip / 255, sigma=(0, pixels, pixels, 0)))


def brightness(clip: np.ndarray, change: float, random: np.random.Generator) -> np.ndarray:
    """Adds or subtracts `change`, pixels in 0..1; the sign is random."""
    return _pixels(clip / 255 + change * random.choice((-1, 1)))


def contrast(clip: np.ndarray, share: float, _: np.random.Generator) -> np.ndarray:
    """Scales the contrast around the mean of each frame by `share`: fog."""
    mean = clip.mean(axis=(1, 2), keepdims=True)
    return _pixels(((clip - mean) * share + mean) / 255)


def jpeg(clip: np.ndarray, quantizer: float, _: np.random.Generator) -> np.ndarray:
    """Compresses every frame as JPEG; the quantizer scale is 1 (best) to 31."""
    return _recoded(clip, "mjpeg", "yuvj420p", {}, quantizer=int(quantizer))


def h264(clip: np.ndarray, crf: float, _: np.random.Generator) -> np.ndarray:
    """Compresses the clip as H.264; the constant rate factor is 0 (lossless) to 51 (worst)."""
    options = {"preset": "ultrafast", "crf": str(int(crf)), "threads": "1"}
    return _recoded(clip, "libx264", "yuv420p", options)


def dropped_frames(clip: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Drops each frame but the first with probability `share`; the previous frame is repeated."""
    lost = random.random(len(clip)) < share
    lost[0] = False
    return clip[np.maximum.accumulate(np.where(lost, 0, np.arange(len(clip))))]


def missing_sound(picture: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Replaces a contiguous `share` of a log-mel spectrogram, float32 `M B`, not normalised, by silence."""
    bins = picture.shape[1]
    length = round(share * bins)
    begin = random.integers(bins - length + 1)
    silenced = picture.copy()
    silenced[:, begin : begin + length] = _SILENCE
    return silenced


def wrong_caption(captions: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Tokens `L` of the first of two captions `2 L`, each position replaced by the second with probability
    `share`."""
    own, other = captions
    return np.where(random.random(len(own)) < share, other, own)


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One row of `CORRUPTIONS`."""

    modality: Literal["clip", "audio", "text"]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    levels: tuple[float, float, float]
    """The level passed to `apply` at severity 1, 2 and 3."""


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(modality="clip", apply=noise, levels=(0.08, 0.18, 0.38)),
    "blur": Corruption(modality="clip", apply=blur, levels=(2, 4, 8)),
    "brightness": Corruption(modality="clip", apply=brightness, levels=(0.1, 0.3, 0.5)),
    "contrast": Corruption(modality="clip", apply=contrast, levels=(0.4, 0.2, 0.05)),
    "jpeg": Corruption(modality="clip", apply=jpeg, levels=(8, 16, 31)),
    "h264": Corruption(modality="clip", apply=h264, levels=(30, 40, 50)),
    "dropped_frames": Corruption(modality="clip", apply=dropped_frames, levels=(0.25, 0.5, 0.75)),
    "missing_sound": Corruption(modality="audio", apply=missing_sound, levels=(1 / 3, 2 / 3, 1)),
    "wrong_caption": Corruption(modality="text", apply=wrong_caption, levels=(1 / 3, 2 / 3, 1)),
}
"""Corruptions by name. A new one is a function above and one line here."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A corruption at a severity. Its random numbers depend on the seed, its name and the clip number alone.

    Raises ValueError for an unknown name or severity.
    """

    name: str
    severity: int
    seed: int

    def __post_init__(self) -> None:
        check_names([self.name])
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity} of {self.name!r}: allowed are 1, 2, 3")

    @property
    def modality(self) -> Literal["clip", "audio", "text"]:
        """The input that it changes."""
        return CORRUPTIONS[self.name].modality

    def generator(self, number: int) -> np.random.Generator:
        """Random generator of clip `number`, the same for all severities."""
        return np.random.default_rng((self.seed, crc32(self.name.encode()), number))

    def apply(self, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The corrupted values of one clip."""
        row = CORRUPTIONS[self.name]
        return row.apply(values, row.levels[self.severity - 1], random)


def corrupt(
    values: np.ndarray,
    modality: str,
    conditions: Sequence[Condition | None],
    numbers: np.ndarray,
    *,
    captions: np.ndarray | None = None,
) -> None:
    """Corrupts N clips of one modality in place, each under its own condition (None: unchanged).

    `numbers` are the clip numbers. Text needs the `captions` of all clips, from which wrong captions are drawn; if
    all captions are equal, they are left unchanged.
    """
    for place, (condition, number) in enumerate(zip(conditions, numbers.tolist(), strict=True)):
        if condition is None or condition.modality != modality:
            continue
        random, own = condition.generator(number), values[place]
        if captions is not None:
            others = captions[(captions != own).any(axis=1)]
            own = np.stack([own, others[random.integers(len(others))] if len(others) else own])
        values[place] = condition.apply(own, random)


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for a name that is not in `CORRUPTIONS`."""
    for name in names:
        if name not in CORRUPTIONS:
            close = difflib.get_close_matches(name, CORRUPTIONS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown corruption {name!r}; allowed: {', '.join(CORRUPTIONS)}{hint}")


def _pixels(values: np.ndarray) -> np.ndarray:
    """Values in 0..1 as uint8."""
    return (values * 255).round().clip(0, 255).astype(np.uint8)


def _recoded(
    clip: np.ndarray, codec: str, pix_fmt: str, options: dict[str, str], *, quantizer: int | None = None
) -> np.ndarray:
    """Encodes and decodes the clip with a lossy codec; frames with an odd size are padded by a pixel meanwhile."""
    _, height, width, _ = clip.shape
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.height, encoder.width, encoder.pix_fmt = even.shape[1], even.shape[2], pix_fmt
    encoder.framerate, encoder.options = 25, options  # type: ignore[assignment]
    if quantizer is not None:
        encoder.qmin = encoder.qmax = quantizer
    packets = []
    for number, pixels in enumerate(even):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    decoder = cast(VideoCodecContext, av.CodecContext.create({"libx264": "h264"}.get(codec, codec), "r"))
    decoder.thread_count = 1
    frames = [frame for packet in packets + encoder.encode() for frame in decoder.decode(packet)]
    frames += decoder.decode()
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])[:, :height, :width]

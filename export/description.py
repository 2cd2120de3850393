"""How to prepare the inputs of a file and read its outputs, as data and in sentences, for app developers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.spec import PAD_TOKEN, UNKNOWN_TOKEN, AudioSpec, ClipSpec, TextSpec, VideoSpec

SCHEMA_VERSION = 1
"""Version of `manifest.json` and `model.json`; see `docs/export-manifest.md`."""


def describe(spec: ClipSpec, *, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """How to prepare every input, what the outputs mean and where the file comes from, as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": dict(provenance),
        "clip": None if spec.video is None else _clip(spec.video),
        "audio": None if spec.audio is None else _audio(spec.audio),
        "text": None if spec.text is None else _text(spec.text),
        "labels": [{"name": label.name, "classes": list(label.classes)} for label in spec.labels],
        "spec": spec.to_dict(),
    }


def describe_network(*, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields for a network of which nothing is known but the shapes of its inputs and outputs."""
    unknown: dict[str, Any] = {"clip": None, "audio": None, "text": None, "labels": [], "spec": None}
    return {"schema_version": SCHEMA_VERSION, "provenance": dict(provenance), **unknown}


def _clip(video: VideoSpec) -> dict[str, Any]:
    t, size, resize = video.frames, video.size, video.resize
    choice = {
        "uniform": f"Cut the clip's time into {t} equal parts and take the frame shown in the middle of each: at "
        f"start + (i + 0.5) * duration / {t} for i = 0..{t - 1}.",
        "strided": f"Take {t} frames, each {video.stride} source frames after the one before, from the middle of "
        "the clip; when it has too few, begin with its first frame and repeat its last one.",
    }
    return {
        "frames": t,
        "sampling": video.sampling,
        "stride": video.stride,
        "size": size,
        "resize": resize,
        "crop": "center",
        "color": "RGB",
        "value_range": [0, 1],
        "rule": [
            f"{choice[video.sampling]} The frame shown at a time is the last one that is not later.",
            "Turn each frame upright as the video's rotation asks, and make its pixels square.",
            f"Scale it (bilinear, same proportions) so that its short side has {resize} pixels, and cut out the "
            f"square of {size} x {size} in the middle.",
            "Divide the RGB bytes by 255. Do not subtract a mean: the file does that for itself.",
        ],
    }


def _audio(audio: AudioSpec) -> dict[str, Any]:
    return {
        **asdict(audio),
        "rule": [
            f"Mix the sound to mono in -1..1, resample it to {audio.sample_rate_hz} Hz and cut it to the clip's "
            "time; where there is no sound, silence.",
            f"For f = 0..samples // {audio.hop}: power = |FFT|^2 of the {audio.window} samples around sample "
            f"f * {audio.hop} (zeros outside the clip) under a periodic Hann window.",
            f"Sum the power in {audio.mels} triangles of height 1 whose corners lie evenly on the mel scale "
            f"2595 log10(1 + Hz / 700) from 0 to {audio.sample_rate_hz // 2} Hz; take ln(sum + 1e-6).",
            f"Resample in time to {audio.bins} bins: with p = ceil(frames / {audio.bins}), the mean of the "
            "linearly interpolated values at the middles of p equal parts of each bin.",
            f"Give (x - {audio.mean:g}) / {audio.std:g}: the file does not do that for itself.",
        ],
    }


def _text(text: TextSpec) -> dict[str, Any]:
    return {
        **asdict(text),
        "padding": PAD_TOKEN,
        "unknown": UNKNOWN_TOKEN,
        "first_word": UNKNOWN_TOKEN + 1,
        "rule": [
            "Lower-case the caption; its words are the runs of letters, digits and apostrophes.",
            f"A word's number is its place in the vocabulary (from 0) + {UNKNOWN_TOKEN + 1}; an unknown word's is "
            f"{UNKNOWN_TOKEN}.",
            f"Keep the first {text.length} numbers and fill up with {PAD_TOKEN}.",
        ],
    }

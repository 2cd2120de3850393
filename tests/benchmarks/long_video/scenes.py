"""Encoded videos whose colours change at known times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from tests.benchmarks.clips.films import COLOURS, RATE_HZ

FPS = 10


def scenes(path: Path, *lengths_s: float, tone: bool = False, dot: bool = True) -> Path:
    """A video of scenes that last so long, each in its own colour, with a dot that moves through all of them."""
    colours = [colour for scene, length_s in enumerate(lengths_s) for colour in _scene(scene, length_s)]
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"threads": "1", "preset": "ultrafast"}
        audio = None
        if tone:
            audio = file.add_stream("aac", rate=RATE_HZ)
            audio.layout = "mono"
        for number, colour in enumerate(colours):
            pixels = np.full((48, 64, 3), colour, np.uint8)
            at = number % 40
            pixels[at : at + 8, at : at + 8] = 255 if dot else colour
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if audio:
            time_s = np.arange(len(colours) * RATE_HZ // FPS) / RATE_HZ
            wave = (0.3 * np.sin(2 * np.pi * (300 + 40 * time_s) * time_s)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = RATE_HZ, 0
            file.mux(audio.encode(sound))
            file.mux(audio.encode())
    return path


def _scene(number: int, length_s: float) -> Sequence[tuple[int, int, int]]:
    return [COLOURS[number % len(COLOURS)]] * round(length_s * FPS)

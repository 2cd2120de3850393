"""Iterates over the frames of a video, decoded in a separate process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks.clips.container import UnreadableClip, opened
from benchmarks.clips.limits import Limits, metered
from benchmarks.clips.pictures import decoded_frames, square_of
from benchmarks.clips.processes import Alive, Lost, run_jobs
from benchmarks.clips.tracks import probe

_WAITING = 4
"""Largest number of decoded frames in the queue."""


@dataclass(frozen=True, kw_only=True)
class Passing:
    """A video, its frame size and the step between frames; quick to import, for worker processes."""

    path: Path
    resize: int
    every: int
    """Takes every `every`-th frame."""
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The upright centre square of a frame, uint8 `R R 3`, and its presentation time."""

    time_s: float
    square: np.ndarray


def passing_pictures(passing: Passing) -> Iterator[Picture]:
    """Yields the frames in order. Raises `UnreadableClip` when the video, or the rest of it, cannot be read."""
    jobs = run_jobs(
        _read,
        [passing],
        workers=1,
        waiting_results=_WAITING,
        memory_mib=passing.limits.max_memory_mib,
    )
    with closing(jobs):
        for _, result in jobs:
            if isinstance(result, Lost):
                raise UnreadableClip(passing.path, f"its decoder failed: {result.reason}")
            if isinstance(result, Picture):
                yield result


def _read(passing: Passing, alive: Alive) -> Iterator[Picture]:
    path, limits = passing.path, passing.limits
    alive = metered(path, limits, alive, refuse=lambda reason: UnreadableClip(path, reason))
    try:
        media = probe(path, limits=limits, alive=alive)
        if media.video is None:
            raise UnreadableClip(path, "has no video, only audio")
        scaler = VideoReformatter()
        with opened(path, limits) as container:
            for number, shown in enumerate(decoded_frames(container, media, alive=alive)):
                if number % passing.every == 0:
                    square = square_of(shown, resize=passing.resize, scaler=scaler, path=path, limits=limits)
                    yield Picture(time_s=shown.time_s, square=square)
    except MemoryError:
        raise UnreadableClip(path, limits.no_memory()) from None

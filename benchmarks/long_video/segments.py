"""Decodes a video once, window by window, in a worker process that sends each window when it is complete."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.clips.container import Note, UnreadableClip, opened
from benchmarks.clips.frames import FrameRule, uniform
from benchmarks.clips.limits import USUAL, Limits, metered
from benchmarks.clips.processes import Alive
from benchmarks.clips.sound import AudioRule
from benchmarks.clips.tracks import Media, probe
from benchmarks.long_video.tapes import AudioTape, DamagedWindow, FrameTape, Wanted, everything
from benchmarks.long_video.windows import Dynamic, Sliding, Window, Windows, dynamic, last_sliding, sliding

_SILENCE_S = 0.25
"""Shorter silence is not noted."""
_ROUNDING_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Job:
    """A video, its windows, and the inputs of the network; quick to import, for worker processes."""

    path: Path
    windows: Windows
    frames: FrameRule | None
    size: int
    """Pixels of a frame's side."""
    sound: AudioRule | None
    limits: Limits = USUAL


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The first message: start and end of the video."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A decoded window: frames uint8 `T S S 3`, log-mel float32 `M B`, not yet normalised; None: not an input."""

    window: Window
    frames: np.ndarray | None
    sound: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A window that cannot be decoded, and the reason."""

    window: Window
    reason: str


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """The video, or the rest of it, cannot be read, and the reason."""

    reason: str


Part = Begun | Segment | LeftOut | Unreadable | Note


def read_segments(job: Job, alive: Alive) -> Iterator[Part]:
    """Yields every window of a video in order; keeps at most two windows in memory.

    A truncated file is read to its end, with a note.
    """
    alive = metered(job.path, job.limits, alive, refuse=lambda reason: UnreadableClip(job.path, reason))
    try:
        media = probe(job.path, limits=job.limits, alive=alive)
        yield from (Note(text=text) for text in media.notes)
        if media.fault:
            yield Note(text=media.fault)
        begun = _span(media, job)
        yield begun
        with ExitStack() as files:
            yield from _segments(job, media, begun, files=files, alive=alive)
    except UnreadableClip as fault:
        yield Unreadable(reason=fault.reason)
    except MemoryError:
        yield Unreadable(reason=job.limits.no_memory())


def _span(media: Media, job: Job) -> Begun:
    if job.frames is not None and media.video is None:
        raise UnreadableClip(job.path, "has no video, only audio")
    if job.sound is not None and media.audio is None and job.sound.missing != "silence":
        raise UnreadableClip(job.path, "has no audio; allow silence with --missing-audio silence")
    track = media.video or media.audio
    assert track is not None
    return Begun(start_s=track.start_s, end_s=track.end_s)


def _wanted(job: Job, begun: Begun) -> Wanted:
    """Predicate for the frames that windows need; may include a few more."""
    if isinstance(job.windows, Dynamic) or job.frames is None or job.frames.sampling == "strided":
        return everything
    stride_s, count = job.windows.stride_s, job.frames.frames
    firsts_s = uniform(start_s=begun.start_s, end_s=begun.start_s + job.windows.segment_s, frames=count)
    last = last_sliding(job.windows, start_s=begun.start_s, end_s=begun.end_s)
    lasts_s = uniform(start_s=last.start_s, end_s=last.end_s, frames=count)

    def wanted(from_s: float, until_s: float) -> bool:
        from_s, until_s = from_s - _ROUNDING_S, until_s + _ROUNDING_S
        next_s = firsts_s + np.ceil((from_s - firsts_s) / stride_s).clip(0) * stride_s
        return bool((next_s < until_s).any() or ((from_s <= lasts_s) & (lasts_s < until_s)).any())

    return wanted


def _segments(job: Job, media: Media, begun: Begun, *, files: ExitStack, alive: Alive) -> Iterator[Part]:
    frames, sound = None, None
    if job.frames is not None:
        container = files.enter_context(opened(job.path, job.limits))
        wanted = _wanted(job, begun)
        frames = FrameTape(container, media, job.frames, size=job.size, wanted=wanted, alive=alive)
    if job.sound is not None:
        sound = AudioTape(files.enter_context(opened(job.path, job.limits)), media, job.sound, alive=alive)
    last: Segment | LeftOut | None = None

    def still_until_s() -> float:
        assert last is not None
        start_s, end_s = last.window.start_s, last.window.end_s
        of_picture = frames.still_until_s(end_s=end_s) if frames else math.inf
        of_sound = sound.still_until_s(start_s=start_s, end_s=end_s) if sound else math.inf
        return min(of_picture, of_sound)

    span = {"start_s": begun.start_s, "end_s": begun.end_s}
    if isinstance(job.windows, Sliding):
        windows = sliding(job.windows, **span, still_until_s=still_until_s)
    else:
        assert frames is not None  # `classify` refuses dynamic windows without video
        windows = dynamic(job.windows, frames.pictures(), **span, still_until_s=still_until_s)
    for window in windows:
        if last is not None and window.start_s >= last.window.start_s and window.end_s <= still_until_s():
            last = replace(last, window=window)
            if sound:
                sound.silent_s += window.end_s - window.start_s
        else:
            last = _decoded(window, frames, sound, media=media)
        yield last
    if frames:
        yield from (Note(text=text) for text in sorted(frames.remarks))
    if sound and sound.silent_s > _SILENCE_S:
        yield Note(
            text=f"has no audio for {sound.silent_s:.1f} s of its windows, which is replaced by silence"
        )


def _decoded(
    window: Window, frames: FrameTape | None, sound: AudioTape | None, *, media: Media
) -> Segment | LeftOut:
    """Reads a window from the tapes. Raises `UnreadableClip` for one that exceeds the limits."""
    span = {"start_s": window.start_s, "end_s": window.end_s}
    media.refuse_long(**span)
    try:
        return Segment(
            window=window,
            frames=frames.clip(**span) if frames else None,
            sound=sound.picture(**span) if sound else None,
        )
    except DamagedWindow as damage:
        return LeftOut(window=window, reason=str(damage))

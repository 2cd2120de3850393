"""Buffers of the last seconds of a video: video and audio are decoded once and dropped when no window needs them.

A clip from a tape equals the clip that `benchmarks.clips` reads from the same span of the file.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from benchmarks.clips.frames import FrameRule, strided, uniform, with_following
from benchmarks.clips.pictures import SAME_TIME_S, decoded_frames, remarks_on, square_of
from benchmarks.clips.processes import Alive
from benchmarks.clips.sound import AudioRule, Chunk, Piece, log_mel, resampled_audio
from benchmarks.clips.tracks import Media


class DamagedWindow(ValueError):
    """A window that cannot be decoded completely."""


Wanted = Callable[[float, float], bool]
"""Whether any window needs a frame that is shown between two times."""


def everything(from_s: float, until_s: float) -> bool:
    """All frames are needed."""
    return True


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A frame on the tape; `picture` is uint8 `S S 3`."""

    time_s: float
    until_s: float
    """Presentation time of the next frame."""
    intact: bool
    followed_intact: bool
    picture: np.ndarray


class FrameTape:
    """Video of an opened file, as frames of `size` pixels. Request windows in order.

    Holds the frames from the start of the last requested window to the last decoded one. Frames that no window
    needs are decoded but not converted, which saves half of the time with large frames.
    """

    def __init__(
        self,
        container: InputContainer,
        media: Media,
        rule: FrameRule,
        *,
        size: int,
        wanted: Wanted = everything,
        alive: Alive,
    ) -> None:
        assert media.video is not None
        self.remarks: set[str] = set()
        self._media = media
        self._interval_s = media.video.interval_s
        self._rule = rule
        self._size = size
        self._wanted = wanted
        self._shown = with_following(decoded_frames(container, media, alive=alive))
        self._scaler = VideoReformatter()
        self._kept: deque[_Kept] = deque()

    def pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        """Continues decoding: yields every further needed frame, uint8 `S S 3`, with its presentation time."""
        for shown, following in self._shown:
            until_s = following.time_s if following else math.inf
            if not self._wanted(shown.time_s if self._kept else -math.inf, until_s):
                continue
            square = square_of(
                shown,
                resize=self._rule.resize,
                scaler=self._scaler,
                path=self._media.path,
                limits=self._media.limits,
            )
            self.remarks |= remarks_on(shown.frame)
            edge = (self._rule.resize - self._size) // 2
            picture = np.ascontiguousarray(square[edge : edge + self._size, edge : edge + self._size])
            self._kept.append(
                _Kept(
                    time_s=shown.time_s,
                    until_s=until_s,
                    intact=shown.intact,
                    followed_intact=following is None or following.intact,
                    picture=picture,
                )
            )
            yield shown.time_s, picture

    def clip(self, *, start_s: float, end_s: float) -> np.ndarray:
        """Frames of a window, uint8 `T S S 3`; drops earlier frames.

        Raises `DamagedWindow` when one of them cannot be decoded completely.
        """
        if not self._kept or self._kept[-1].until_s < end_s:
            for _ in self.pictures():
                self._forget(start_s)
                if self._kept[-1].until_s >= end_s:
                    break
        self._forget(start_s)
        if not self._kept:
            raise DamagedWindow("none of its frames can be decoded")
        frames = list(self._kept)
        shown_s = np.array([frame.time_s for frame in frames])
        count, stride = self._rule.frames, self._rule.stride
        if self._rule.sampling == "strided":
            times_s = strided(shown_s, start_s=start_s, end_s=end_s, frames=count, stride=stride)
        else:
            times_s = uniform(start_s=start_s, end_s=end_s, frames=count)
        places = np.searchsorted(shown_s, times_s + SAME_TIME_S, side="right") - 1
        chosen = places.clip(0).tolist()
        for time_s, place in zip(times_s, chosen, strict=True):
            frame = frames[place]
            late = time_s > frame.time_s + self._interval_s
            if not frame.intact or (late and not frame.followed_intact):
                raise DamagedWindow(f"is damaged: the frame at {time_s:.2f} s cannot be decoded completely")
        return np.stack([frames[place].picture for place in chosen])

    def still_until_s(self, *, end_s: float) -> float:
        """End of the first frame of the last window; -inf when other frames follow before `end_s`."""
        if not self._kept or self._kept[0].until_s < end_s - SAME_TIME_S:
            return -math.inf
        return self._kept[0].until_s

    def _forget(self, before_s: float) -> None:
        """Drops the frames that are no longer shown at `before_s`."""
        while len(self._kept) > 1 and self._kept[1].time_s <= before_s + SAME_TIME_S:
            self._kept.popleft()


class AudioTape:
    """Audio of an opened file as log-mel spectrograms. Request windows in order.

    Holds the samples from the start of the last requested window to the last decoded one. A file without audio
    gives silence if the rule allows it.
    """

    def __init__(self, container: InputContainer, media: Media, rule: AudioRule, *, alive: Alive) -> None:
        self.silent_s = 0.0
        """Seconds without audio in the requested windows, by an early end or gaps."""
        self._rule = rule
        self._chunks: Iterator[Chunk] = iter(())
        if media.audio is not None:
            self._chunks = resampled_audio(container, media, rule.sample_rate_hz, alive=alive)
        self._kept: deque[Chunk] = deque()

    def picture(self, *, start_s: float, end_s: float) -> np.ndarray:
        """Log-mel spectrogram of a window, float32 `M B`, not yet normalised; drops earlier samples.

        Raises `DamagedWindow` when the audio cannot be decoded completely, or is missing and the rule refuses
        silence.
        """
        first, last = (round(time_s * self._rule.sample_rate_hz) for time_s in (start_s, end_s))
        piece = Piece(cut=0, first=first, last=max(last, first + 1))
        while not self._kept or self._kept[-1].last < piece.last:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._kept.append(chunk)
            self._forget(first)
        self._forget(first)
        for chunk in self._kept:
            piece.take(chunk)
        if not piece.intact:
            raise DamagedWindow("its audio is damaged and cannot be decoded completely")
        if not piece.filled and self._rule.missing != "silence":
            raise DamagedWindow("has no audio; allow silence with --missing-audio silence")
        self.silent_s += (len(piece.waveform) - piece.filled) / self._rule.sample_rate_hz
        return log_mel(piece.waveform, self._rule)

    def still_until_s(self, *, start_s: float, end_s: float) -> float:
        """End of the missing or damaged audio of the last window; -inf if the window had audio."""
        first, last = (round(time_s * self._rule.sample_rate_hz) for time_s in (start_s, end_s))
        here = [chunk for chunk in self._kept if chunk.first < last and chunk.last > first]
        if not here:
            coming = [chunk.first for chunk in self._kept if chunk.first >= last]
            return min(coming) / self._rule.sample_rate_hz if coming else math.inf
        if len(here) == 1 and not here[0].intact and here[0].first <= first and here[0].last >= last:
            return here[0].last / self._rule.sample_rate_hz
        return -math.inf

    def _forget(self, first: int) -> None:
        """Drops the chunks that end before sample `first`."""
        while len(self._kept) > 1 and self._kept[0].last <= first:
            self._kept.popleft()

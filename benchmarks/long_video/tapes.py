"""The last seconds of a video: picture and sound are decoded once, and forgotten when no window needs them.

A clip from a tape is the clip that `benchmarks.clips` cuts from the same span of the file.
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
    """A window that cannot be decoded whole; says why."""


Wanted = Callable[[float, float], bool]
"""Whether any window wants what is shown from one time to another."""


def everything(from_s: float, until_s: float) -> bool:
    """Every frame is wanted."""
    return True


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A frame on the tape; `picture` is uint8 `S S 3`."""

    time_s: float
    until_s: float
    """When the next frame takes its place."""
    intact: bool
    followed_intact: bool
    picture: np.ndarray


class FrameTape:
    """The picture of an opened file, as frames of `size` pixels; windows have to be asked for in order.

    Holds the frames from the start of the window last asked for up to the last one decoded. Frames that nobody
    wants are decoded and no more, which saves half of the time with large pictures.
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
        """Decodes on: gives every further frame that is wanted, uint8 `S S 3`, and when it is shown."""
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
        """Frames of a window, uint8 `T S S 3`; forgets what was before it.

        Raises `DamagedWindow` when one of them cannot be decoded whole.
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
                raise DamagedWindow(f"is damaged: what is shown at {time_s:.2f} s cannot be decoded whole")
        return np.stack([frames[place].picture for place in chosen])

    def still_until_s(self, *, end_s: float) -> float:
        """Until when the frame is shown that the last window began with; -inf when others came before `end_s`."""
        if not self._kept or self._kept[0].until_s < end_s - SAME_TIME_S:
            return -math.inf
        return self._kept[0].until_s

    def _forget(self, before_s: float) -> None:
        """Drops the frames that are no longer shown at `before_s`."""
        while len(self._kept) > 1 and self._kept[1].time_s <= before_s + SAME_TIME_S:
            self._kept.popleft()


class AudioTape:
    """The sound of an opened file as log-mel pictures; windows have to be asked for in order.

    Holds the samples from the start of the window last asked for up to the last one decoded. A file without sound
    gives silence where the rule says so.
    """

    def __init__(self, container: InputContainer, media: Media, rule: AudioRule, *, alive: Alive) -> None:
        self.silent_s = 0.0
        """Seconds of the windows asked for in which there was no sound, as far as it ends early or has gaps."""
        self._rule = rule
        self._chunks: Iterator[Chunk] = iter(())
        if media.audio is not None:
            self._chunks = resampled_audio(container, media, rule.sample_rate_hz, alive=alive)
        self._kept: deque[Chunk] = deque()

    def picture(self, *, start_s: float, end_s: float) -> np.ndarray:
        """Log-mel picture of a window, float32 `M B`, not yet normalised; forgets what was before it.

        Raises `DamagedWindow` when the sound cannot be decoded whole, or there is none and the rule refuses that.
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
            raise DamagedWindow("its sound is damaged and cannot be decoded whole")
        if not piece.filled and self._rule.missing != "silence":
            raise DamagedWindow("has no sound; allow silence with --missing-audio silence")
        self.silent_s += (len(piece.waveform) - piece.filled) / self._rule.sample_rate_hz
        return log_mel(piece.waveform, self._rule)

    def still_until_s(self, *, start_s: float, end_s: float) -> float:
        """Until when there is no sound, or damage alone, as in the last window; -inf when it had sound."""
        first, last = (round(time_s * self._rule.sample_rate_hz) for time_s in (start_s, end_s))
        here = [chunk for chunk in self._kept if chunk.first < last and chunk.last > first]
        if not here:
            coming = [chunk.first for chunk in self._kept if chunk.first >= last]
            return min(coming) / self._rule.sample_rate_hz if coming else math.inf
        if len(here) == 1 and not here[0].intact and here[0].first <= first and here[0].last >= last:
            return here[0].last / self._rule.sample_rate_hz
        return -math.inf

    def _forget(self, first: int) -> None:
        """Drops the chunks that end before sample number `first`."""
        while len(self._kept) > 1 and self._kept[0].last <= first:
            self._kept.popleft()

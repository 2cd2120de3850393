"""Opens media files safely and finds out when they begin and end, before anything is decoded.

All times count in seconds from the start of the file as a player counts them, whatever the file's own
timestamps begin with.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

Alive = Callable[[], None]
"""Called for every packet, so that a watchdog can tell slow work from none."""

_IO_TIMEOUT_S = 30.0
_PAUSE_S = 0.5
_NOT_MEDIA = {
    "concat": "a list of other files",
    "hls": "a list of other files",
    "dash": "a list of other files",
    "sdp": "a description of a network stream",
    "tty": "a text file",
}
"""Demuxers that FFmpeg also tries on any file and that do not hold a clip."""
_JUMP_S = 0.5
"""Decoding times that go back by more are not rounding."""
TRANSPARENT = "is transparent; its opacity is ignored"
_END_TOLERANCE_S = 0.25
"""A span may end so much after the file: times rounded by hand, sound a little longer than the picture."""


class UnreadableClip(ValueError):
    """A clip that cannot be read: which file, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The part of a file that one clip is; None means the file's start or end."""

    start_s: float | None = None
    end_s: float | None = None
    pad_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a reader decoded for the cut of that number."""

    cut: int
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a reader has nothing for the cut of that number."""

    cut: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something about the file that a user should know although it was read."""

    text: str


Outcome = Clip | Refusal | Note


@dataclass(frozen=True, kw_only=True)
class Track:
    """When the picture or the sound of a file begins and ends."""

    index: int
    """Number of the stream in the file."""
    times_s: np.ndarray
    """When its packets are presented, sorted."""
    interval_s: float
    """Usual time from one frame to the next."""
    end_s: float
    timed: bool
    """False when the file has no timestamps and frames are taken to follow each other evenly."""

    @property
    def start_s(self) -> float:
        """When the first packet is presented."""
        return float(self.times_s[0])


@dataclass(frozen=True, kw_only=True)
class Media:
    """What a file holds."""

    path: Path
    origin_s: float
    """The file's own timestamp of time 0."""
    video: Track | None
    audio: Track | None
    fault: str | None
    """Why the file ends early, when it does."""
    notes: tuple[str, ...]

    def span(self, cut: Cut) -> tuple[float, float]:
        """Start and end in seconds of a cut; a whole file is as long as its picture, or its sound without one.

        Raises `UnreadableClip` when the cut is not within the file.
        """
        tracks = [track for track in (self.video, self.audio) if track]
        file_end_s = max(track.end_s for track in tracks)
        start_s = tracks[0].start_s if cut.start_s is None else cut.start_s
        end_s = tracks[0].end_s if cut.end_s is None else cut.end_s
        if self.fault and (cut.end_s is None or end_s > file_end_s):
            raise UnreadableClip(self.path, self.fault)
        if start_s >= file_end_s or end_s > file_end_s + _END_TOLERANCE_S:
            raise UnreadableClip(
                self.path,
                f"the span {start_s:g}..{end_s:g} s is not in the file, which ends at {file_end_s:.2f} s",
            )
        if start_s >= end_s:
            raise UnreadableClip(self.path, f"the span {start_s:g}..{end_s:g} s is empty")
        if cut.start_s is not None:
            start_s = max(0.0, start_s - cut.pad_s)
        if cut.end_s is not None:
            end_s = min(end_s + cut.pad_s, file_end_s)
        return start_s, end_s


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The opened file. Raises `UnreadableClip` for anything that is not a media file, also while it is read."""
    path = Path(path)
    if not path.exists():
        raise UnreadableClip(path, "no such file")
    if path.is_dir():
        raise UnreadableClip(path, "is a folder, not a file")
    if not path.is_file():
        raise UnreadableClip(path, "is not a regular file")
    if path.stat().st_size == 0:
        raise UnreadableClip(path, "is empty (0 bytes)")
    # "file:" keeps FFmpeg from taking "a:b.mp4" for a protocol; the whitelist keeps lists of files off the network.
    options = {"protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path.absolute()}", options=options, timeout=_IO_TIMEOUT_S)
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        raise UnreadableClip(path, f"cannot be opened as video or sound: {said(error)}") from None
    with container:
        kind = container.format.name
        if kind in _NOT_MEDIA:
            raise UnreadableClip(path, f"is {_NOT_MEDIA[kind]}, not a video")
        if kind.endswith("_pipe") or kind in ("image2", "ico"):
            raise UnreadableClip(path, f"is a still picture ({kind.removesuffix('_pipe')}), not a video")
        yield container


def decoded(container: InputContainer, stream: Stream, *, alive: Alive) -> Iterator[object | None]:
    """Every frame of a picture or of sound, in order; None where one cannot be decoded."""
    packets = container.demux(stream)
    while True:
        alive()
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.EOFError:
            return
        except (av.FFmpegError, OSError):
            yield None
            continue
        yield from frames


def probe(path: Path, *, alive: Alive) -> Media:
    """What the file holds, from the timestamps of all its packets; nothing is decoded.

    Raises `UnreadableClip` for a file that cannot be opened or has neither picture nor sound.
    """
    with opened(path) as container:
        notes = []
        pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        best = container.streams.best("video")
        video = best if best in pictures else next(iter(pictures), None)
        audio = container.streams.best("audio")
        if video and video.metadata.get("alpha_mode") == "1":
            notes.append(TRANSPARENT)
        if len(pictures) > 1 and video:
            notes.append(f"has {len(pictures)} video tracks; number {video.index} is read")
        streams = [stream for stream in (video, audio) if stream]
        if not streams:
            held = ", ".join(sorted({stream.type or "unknown" for stream in container.streams})) or "nothing"
            raise UnreadableClip(path, f"has neither picture nor sound (it holds: {held})")
        origin_s = None if container.start_time is None else container.start_time / av.time_base
        stamps = {stream.index: _Stamps() for stream in streams}
        latest_s: dict[int, float] = {}
        fault = None
        try:
            for packet in container.demux(streams):
                alive()
                if not packet.size or packet.is_discard:
                    continue
                base = packet.time_base
                if packet.dts is not None:
                    decoded_s = float(packet.dts * base)
                    _refuse_jump(path, latest_s.get(packet.stream_index, decoded_s), decoded_s)
                    latest_s[packet.stream_index] = decoded_s
                stamp = packet.pts if packet.pts is not None else packet.dts
                given = stamps[packet.stream_index]
                given.times_s.append(math.nan if stamp is None else float(stamp * base))
                given.durations_s.append(float((packet.duration or 0) * base))
        except (av.FFmpegError, OSError) as error:
            fault = f"is damaged, reading stops early: {said(error)}"
        except IndexError:  # from PyAV, whose list of streams does not grow
            reason = "a stream begins in its middle; re-wrap it: ffmpeg -i FILE -c copy NEW_FILE"
            raise UnreadableClip(path, reason) from None
        firsts = [np.nanmin(each.times_s) for each in stamps.values() if not np.isnan(each.times_s).all()]
        # A header's start may come after the first frames: FFmpeg guesses it from the first packets it sees.
        origin_s = float(min([*firsts, *([] if origin_s is None else [origin_s])], default=0.0))
        tracks: dict[str, Track | None] = {}
        for stream in streams:
            rate = getattr(stream, "average_rate", None) or getattr(stream, "guessed_rate", None)
            track = _track(stream.index, stamps[stream.index], origin_s=origin_s, rate=rate)
            if track is None:
                notes.append(f"{stream.type} track is empty")
            elif pause := _pause(track) if stream is video else None:
                notes.append(pause)
            elif not track.timed and stream is video:
                notes.append(f"has no timestamps; frames are taken as {1 / track.interval_s:.4g} a second")
            tracks[stream.type] = track
        if not any(tracks.values()):
            raise UnreadableClip(
                path, fault or "holds no packets of picture or sound: the recording was cut off"
            )
        full = [track for track in tracks.values() if track]
        held_s = max(track.end_s for track in full) - min(track.start_s for track in full)
        return Media(
            path=path,
            origin_s=origin_s,
            video=tracks.get("video"),
            audio=tracks.get("audio"),
            fault=fault or _cut_off(container, streams, held_s=held_s),
            notes=tuple(notes),
        )


def _refuse_jump(path: Path, before_s: float, now_s: float) -> None:
    if now_s < before_s - _JUMP_S:
        raise UnreadableClip(
            path,
            f"its timestamps jump back by {before_s - now_s:.2f} s, as in files put one behind the other; "
            "re-encode it to repair them",
        )


def said(error: BaseException) -> str:
    """What FFmpeg said, without error numbers and file names."""
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, av.InvalidDataError):
        return f"{text} (not a media file, or its header is missing as after a broken download)"
    return text


@dataclass(frozen=True)
class _Stamps:
    """Times and durations of a stream's packets, in 16 bytes a packet: an hour has hundreds of thousands."""

    times_s: array[float] = field(default_factory=lambda: array("d"))
    """NaN where a packet has none."""
    durations_s: array[float] = field(default_factory=lambda: array("d"))


def _track(index: int, stamps: _Stamps, *, origin_s: float, rate: object) -> Track | None:
    if not stamps.times_s:
        return None
    times_s = np.array(stamps.times_s) - origin_s
    durations_s = np.array(stamps.durations_s)[~np.isnan(times_s)]
    times_s = times_s[~np.isnan(times_s)]
    order = np.lexsort((durations_s, times_s))
    times_s, durations_s = times_s[order], durations_s[order]
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    interval_s = float(np.median(steps)) if len(steps) else float(1 / rate) if rate else 0.04  # type: ignore[operator]
    if len(times_s):
        return Track(
            index=index,
            times_s=times_s,
            interval_s=interval_s,
            end_s=float(times_s[-1]) + (float(durations_s[-1]) or interval_s),
            timed=True,
        )
    count = len(stamps.times_s)
    return Track(
        index=index,
        times_s=np.arange(count) * interval_s,
        interval_s=interval_s,
        end_s=count * interval_s,
        timed=False,
    )


def _pause(track: Track) -> str | None:
    """Says where frames are missing for long: some containers are read on after damage without a word."""
    steps = np.diff(track.times_s)
    if not len(steps) or steps.max() < max(_PAUSE_S, 5 * track.interval_s):
        return None
    at = int(steps.argmax())
    return f"shows one frame for {steps[at]:.1f} s from {track.times_s[at]:.1f} s on; a pause, or damage"


def _cut_off(container: InputContainer, streams: list, *, held_s: float) -> str | None:
    """Says so when a header promises more than the file holds."""
    if container.duration is None or container.format.name.split(",")[0] not in (
        "mov",
        "matroska",
        "avi",
        "flv",
    ):
        return None  # elsewhere the duration is itself an estimate from the file's end
    promised_s = container.duration / av.time_base
    of_streams = [float(s.duration * s.time_base) for s in streams if s.duration and s.time_base]
    if len(of_streams) == len(streams):
        promised_s = min(promised_s, max(of_streams))
    if (
        container.format.name == "avi"
    ):  # its demuxer shortens the duration to what is there, but not the frame count
        promised_s = max(promised_s, *(float(s.frames * s.time_base) for s in streams if s.frames))
    if promised_s - held_s <= 0.1 + 0.03 * promised_s:
        return None
    return f"is cut off: its header promises {promised_s:.1f} s, it holds {held_s:.1f} s"

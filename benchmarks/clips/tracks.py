"""Finds start and end of the video and audio of a file before decoding.

All times are in seconds from the start of the file, as in a player, whatever the first timestamp is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import av
import av.format
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from benchmarks.clips.container import TRANSPARENT, Cut, UnreadableClip, message_of, opened, over_limit
from benchmarks.clips.display_order import display_times
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.processes import Alive
from benchmarks.clips.stamps import Stamps, Track, track_of

_PAUSE_S = 0.5
_JUMP_S = 0.5
"""Decoding times that jump back by more are not rounding errors."""
_END_TOLERANCE_S = 0.25
"""Tolerance for a span that ends after the file: rounded times, audio slightly longer than video."""
_BROADCAST = ("mpegts", "mpeg")
"""Containers with presentation times in which lost packets cause no error."""


@dataclass(frozen=True, kw_only=True)
class Media:
    """The streams of a file."""

    path: Path
    origin_s: float
    """The timestamp in the file that corresponds to time 0."""
    video: Track | None
    audio: Track | None
    fault: str | None
    """Reason why the file ends early, if it does."""
    notes: tuple[str, ...]
    limits: Limits

    def span(self, cut: Cut) -> tuple[float, float]:
        """Start and end of a cut in seconds; a whole file is as long as its video, or its audio without video.

        Raises `UnreadableClip` when the cut is outside the file or exceeds the limits.
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
        self.refuse_long(start_s, end_s)
        return start_s, end_s

    def refuse_long(self, start_s: float, end_s: float) -> None:
        """Raises `UnreadableClip` for a clip whose duration or number of frames exceeds the limits."""
        if end_s - start_s > self.limits.max_span_s:
            lasts = f"the clip {start_s:g}..{end_s:g} s lasts {end_s - start_s:,.1f} s"
            raise UnreadableClip(self.path, self.limits.over("max_span_s", lasts))
        if self.video is not None:
            first, last = np.searchsorted(self.video.times_s, (start_s, end_s))
            if last - first > self.limits.max_frames:
                has = f"the clip {start_s:g}..{end_s:g} s has {last - first:,} frames"
                raise UnreadableClip(self.path, self.limits.over("max_frames", has))


def probe(path: Path, *, limits: Limits = USUAL, alive: Alive) -> Media:
    """Reads the streams of a file from the timestamps of all packets.

    Nothing is decoded, except in files without presentation times (`display_order`).

    Raises `UnreadableClip` for a file that cannot be opened, has neither video nor audio, or exceeds the limits.
    """
    with opened(path, limits) as container:
        streams, notes = _chosen(container, path)
        for stream in streams:
            context = stream.codec_context
            if isinstance(context, av.VideoCodecContext) and (
                reason := limits.pixels(context.width, context.height)
            ):
                raise UnreadableClip(path, reason)
        # The start in a header may be later than the first frames: FFmpeg estimates it from the first packets.
        begins_s = None if container.start_time is None else container.start_time / av.time_base
        stamps, fault = _read_stamps(container, streams, path=path, limits=limits, alive=alive)
        firsts = [float(np.nanmin(each.times_s)) for each in stamps.values() if each.any_given]
        origin_s = min([*firsts, *([] if begins_s is None else [begins_s])], default=0.0)
        timed = av.format.Flags.no_timestamps not in av.format.Flags(int(container.format.flags))
        tracks: dict[str, Track | None] = {}
        for stream in streams:
            rate = getattr(stream, "average_rate", None) or getattr(stream, "guessed_rate", None)
            rate_hz = float(rate) if rate else None
            track = track_of(
                stream.index, stamps[stream.index], origin_s=origin_s, rate_hz=rate_hz, timed=timed
            )
            if track is None:
                notes.append(f"{stream.type} track is empty")
            elif not track.timed and stream.type == "video":
                notes.append(f"has no timestamps; {1 / track.interval_s:.4g} frames per second are assumed")
            tracks[stream.type] = track
        if not any(tracks.values()):
            raise UnreadableClip(
                path, fault or "contains no video or audio packets: the recording was truncated"
            )
        video = tracks.get("video")
        if video is not None and video.timed and _may_be_reordered(container, stamps[video.index]):
            video = _in_display_order(
                path, video, stamps[video.index], origin_s=origin_s, notes=notes, limits=limits, alive=alive
            )
        if video is not None and (pause := _pause(video)):
            notes.append(pause)
        full = [track for track in (video, tracks.get("audio")) if track]
        end_s = max(track.end_s for track in full)
        held_s = max(end_s - min(track.start_s for track in full), origin_s + end_s)
        held_s = max(held_s, *(each.last_decoded_s for each in stamps.values()))
        return Media(
            path=path,
            origin_s=origin_s,
            video=video,
            audio=tracks.get("audio"),
            fault=fault or _cut_off(container, streams, held_s=held_s),
            notes=tuple(notes),
            limits=limits,
        )


def _chosen(container: InputContainer, path: Path) -> tuple[list[Stream], list[str]]:
    """The selected video and audio stream, and notes on them."""
    notes = []
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    video = best if best in pictures else next(iter(pictures), None)
    audio = container.streams.best("audio")
    if video and video.metadata.get("alpha_mode") == "1":
        notes.append(TRANSPARENT)
    if len(pictures) > 1 and video:
        notes.append(f"has {len(pictures)} video tracks; track {video.index} is used")
    streams: list[Stream] = [stream for stream in (video, audio) if stream]
    if not streams:
        held = ", ".join(sorted({stream.type or "unknown" for stream in container.streams})) or "nothing"
        raise UnreadableClip(path, f"has neither video nor audio (it contains: {held})")
    return streams, notes


def _read_stamps(
    container: InputContainer, streams: list[Stream], *, path: Path, limits: Limits, alive: Alive
) -> tuple[dict[int, Stamps], str | None]:
    """Timestamps of all packets by stream index, and the reason if reading stopped early."""
    stamps = {stream.index: Stamps() for stream in streams}
    latest_s: dict[int, float] = {}
    try:
        for packet in container.demux(streams):
            alive()
            if not packet.size or packet.is_discard:
                continue
            base, given = packet.time_base, stamps[packet.stream_index]
            if packet.dts is not None:
                decoded_s = float(packet.dts * base)
                _refuse_jump(path, latest_s.get(packet.stream_index, decoded_s), decoded_s)
                latest_s[packet.stream_index] = decoded_s
                given.first_decoded_s = min(given.first_decoded_s, decoded_s)
                given.last_decoded_s = max(given.last_decoded_s, decoded_s)
            stamp = packet.pts if packet.pts is not None else packet.dts
            given.times_s.append(math.nan if stamp is None else float(stamp * base))
            given.durations_s.append(max(0.0, float((packet.duration or 0) * base)))
    except MemoryError:
        raise UnreadableClip(path, limits.no_memory()) from None
    except (av.FFmpegError, OSError) as error:
        if reason := over_limit(error, limits):
            raise UnreadableClip(path, reason) from None
        return stamps, f"is damaged, reading stops early: {message_of(error)}"
    except IndexError:  # from PyAV, whose list of streams is fixed
        reason = "a stream starts in the middle of the file; remux it: ffmpeg -i FILE -c copy NEW_FILE"
        raise UnreadableClip(path, reason) from None
    return stamps, None


def _refuse_jump(path: Path, before_s: float, now_s: float) -> None:
    if now_s < before_s - _JUMP_S:
        raise UnreadableClip(
            path,
            f"its timestamps jump back by {before_s - now_s:.2f} s, as in concatenated files; "
            "re-encode it to repair them",
        )


def _may_be_reordered(container: InputContainer, stamps: Stamps) -> bool:
    """Whether the presentation order may differ from the order of the timestamps."""
    if container.format.name in _BROADCAST:
        return False
    times_s = np.array(stamps.times_s)
    reorders = any(
        isinstance(stream.codec_context, av.VideoCodecContext) and stream.codec_context.has_b_frames
        for stream in container.streams.video
    )
    return reorders and not np.isnan(times_s).any() and bool((np.diff(times_s) >= 0).all())


def _in_display_order(
    path: Path,
    video: Track,
    stamps: Stamps,
    *,
    origin_s: float,
    notes: list[str],
    limits: Limits,
    alive: Alive,
) -> Track:
    """The track with presentation times, where packets only have decoding times."""
    shown_s = display_times(path, video.index, limits=limits, alive=alive)
    if shown_s is None:
        return video
    notes.append(
        "has no presentation times, only the storage order of frames; "
        "frames are used in the order of the decoder"
    )
    shown_s += max(0.0, stamps.first_decoded_s - origin_s) - shown_s[0]
    return replace(
        video,
        times_s=shown_s,
        shown_s=shown_s,
        end_s=float(shown_s[-1]) + (stamps.durations_s[-1] or video.interval_s),
    )


def _pause(track: Track) -> str | None:
    """Message for a long gap between frames: some containers are read after damage without an error."""
    steps = np.diff(track.times_s)
    if not len(steps) or steps.max() < max(_PAUSE_S, 5 * track.interval_s):
        return None
    at = int(steps.argmax())
    return f"has no new frame for {steps[at]:.1f} s from {track.times_s[at]:.1f} s on: a pause or damage"


def _cut_off(container: InputContainer, streams: list, *, held_s: float) -> str | None:
    """Message for a header that declares a longer duration than the file has."""
    if container.duration is None or container.format.name.split(",")[0] not in (
        "mov",
        "matroska",
        "avi",
        "flv",
    ):
        return None  # elsewhere the duration is an estimate from the end of the file
    promised_s = container.duration / av.time_base
    of_streams = [float(s.duration * s.time_base) for s in streams if s.duration and s.time_base]
    if len(of_streams) == len(streams):
        promised_s = min(promised_s, max(of_streams))
    if (
        container.format.name == "avi"
    ):  # its demuxer reduces the duration to the actual one, but not the frame count
        promised_s = max(promised_s, *(float(s.frames * s.time_base) for s in streams if s.frames))
    if promised_s - held_s <= 0.1 + 0.03 * promised_s:
        return None
    return f"is truncated: its header declares {promised_s:.1f} s, it contains {held_s:.1f} s"

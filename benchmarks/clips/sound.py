"""Sound of clips: one pass through a file gives the log-mel pictures of all clips cut from it.

    waveform = channels resampled to `sample_rate_hz`, their mean, cut to the span, silence where there is none
    power[f, b] = |rfft(hann * waveform around f * hop)[b]|^2, hann periodic, zeros outside the span,
                  f = 0 .. samples // hop
    mel[f, m] = sum over b of triangle[m, b] * power[f, b]
    picture[m, k] = mean of ln(mel + 1e-6), linear in time, at the centres of p equal parts of bin k,
                    p = ceil(frames / bins); the bins are equal parts of the span, samples 0 .. samples

The triangles have a peak of 1 and corners evenly spaced on the mel scale 2595 log10(1 + Hz / 700) (O'Shaughnessy
1987; the scale of HTK) from 0 Hz to half the sample rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer

from benchmarks.clips.container import (
    Clip,
    Cut,
    Note,
    Outcome,
    Refusal,
    UnreadableClip,
    decoded,
    message_of,
    opened,
    over_limit,
)
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.processes import Alive
from benchmarks.clips.tracks import Media, probe

if TYPE_CHECKING:
    from models.spec import AudioSpec

_FLOOR = 1e-6
_GAP_S = 0.1
"""Timestamps may be so much off before they count as a gap; real files round them and drift a little."""
_RATES_HZ = (1_000, 3_000_000)
"""Sample rates of sound, from the lowest of toys to that of one-bit sound (DSD256, in bytes)."""
_MISSING_S = 0.25
"""Sound may begin later or end earlier than the picture by so much without a note."""
_STFT_FRAMES = 4096
"""Frames transformed at once, which bounds the memory for long clips."""


@dataclass(frozen=True, kw_only=True)
class AudioRule:
    """What of an `AudioSpec` decides which values are computed; quick to import, for worker processes."""

    sample_rate_hz: int
    window: int
    hop: int
    mels: int
    bins: int
    missing: str = "refuse"
    """`silence` gives clips of files without sound a silent waveform; `refuse` refuses them."""

    @classmethod
    def of(cls, audio: AudioSpec, *, missing: str = "refuse") -> AudioRule:
        """The rule of a spec."""
        return cls(
            sample_rate_hz=audio.sample_rate_hz,
            window=audio.window,
            hop=audio.hop,
            mels=audio.mels,
            bins=audio.bins,
            missing=missing,
        )


def read_audio(
    path: Path, cuts: Sequence[Cut], rule: AudioRule, *, limits: Limits = USUAL, alive: Alive
) -> Iterator[Outcome]:
    """Log-mel picture of each cut, float32 `M B`, not yet normalised.

    Where the file has no sound within a span there is silence, with a note when it is longer than 0.25 s. A clip
    without any sound is refused, or silent where the rule says so. A clip whose sound comes out damaged is refused.
    Raises `UnreadableClip` when nothing (more) of the file can be read.
    """
    media = probe(path, limits=limits, alive=alive)
    pieces: list[Piece] = []
    for number, cut in enumerate(cuts):
        try:
            start_s, end_s = media.span(cut)
        except UnreadableClip as fault:
            yield Refusal(cut=number, reason=fault.reason)
            continue
        first, last = (round(time_s * rule.sample_rate_hz) for time_s in (start_s, end_s))
        if last - first > limits.max_samples:
            has = f"the sound of the clip {start_s:g}..{end_s:g} s has {last - first:,} samples"
            yield Refusal(cut=number, reason=limits.over("max_samples", has))
            continue
        pieces.append(Piece(cut=number, first=first, last=max(last, first + 1)))
    pieces.sort(key=lambda piece: piece.first)
    if media.audio is None:
        for piece in pieces:
            yield from _finished(piece, rule)
        return
    begun = 0
    open_pieces: list[Piece] = []
    with opened(path, limits) as container:
        for chunk in resampled_audio(container, media, rule.sample_rate_hz, alive=alive):
            while begun < len(pieces) and pieces[begun].first < chunk.last:
                open_pieces.append(pieces[begun])
                begun += 1
            for piece in open_pieces:
                piece.take(chunk)
            for piece in [piece for piece in open_pieces if piece.last <= chunk.first]:
                open_pieces.remove(piece)
                yield from _finished(piece, rule)
            if begun == len(pieces) and not open_pieces:
                return
    for piece in open_pieces + pieces[begun:]:
        yield from _finished(piece, rule)


def log_mel(waveform: np.ndarray, rule: AudioRule) -> np.ndarray:
    """Log-mel picture, float32 `M B`, of a mono waveform in -1..1 that covers the span; see the module's head."""
    half = rule.window // 2
    frames = len(waveform) // rule.hop + 1
    padded = np.pad(waveform.astype(np.float32, copy=False), (half, rule.window))
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(rule.window) / rule.window)).astype(np.float32)
    triangles = mel_triangles(sample_rate_hz=rule.sample_rate_hz, window=rule.window, mels=rule.mels)
    windows = np.lib.stride_tricks.sliding_window_view(padded, rule.window)[:: rule.hop][:frames]
    bands = np.empty((frames, rule.mels), np.float32)
    for start in range(0, frames, _STFT_FRAMES):
        spectrum = np.fft.rfft(windows[start : start + _STFT_FRAMES] * hann)
        power = spectrum.real**2 + spectrum.imag**2
        bands[start : start + _STFT_FRAMES] = np.log(power @ triangles.T + _FLOOR)
    parts = math.ceil(frames / rule.bins)
    centres = (np.arange(rule.bins * parts) + 0.5) / (rule.bins * parts) * len(waveform) / rule.hop
    left = np.minimum(centres.astype(int), frames - 1)
    right = np.minimum(left + 1, frames - 1)
    share = (centres - left)[:, None].astype(np.float32)
    sampled = bands[left] * (1 - share) + bands[right] * share
    return sampled.reshape(rule.bins, parts, rule.mels).mean(axis=1).T.astype(np.float32)


@cache
def mel_triangles(*, sample_rate_hz: int, window: int, mels: int) -> np.ndarray:
    """Weights `M (window // 2 + 1)` of the mel bands; see the module's head.

    Raises ValueError when bands are so narrow that one of them falls between two frequencies of the transform.
    """
    top = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    low, peak, high = (corners_hz[k : k + mels, None] for k in range(3))
    hz = np.arange(window // 2 + 1) * sample_rate_hz / window
    triangles = np.maximum(0, np.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)))
    empty = int((triangles.sum(axis=1) == 0).sum())
    if empty:
        raise ValueError(
            f"{mels} mel bands are too many for a window of {window} samples at {sample_rate_hz} Hz: "
            f"{empty} of them are empty; take fewer bands or a longer window"
        )
    return triangles.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Samples from number `first` on; None where the sound is damaged."""

    first: int
    samples: np.ndarray
    intact: bool = True

    @property
    def last(self) -> int:
        """Number of the sample after the last one."""
        return self.first + len(self.samples)


class Piece:
    """The waveform of one clip while it is gathered, samples `first` to `last` of the file."""

    def __init__(self, *, cut: int, first: int, last: int) -> None:
        self.cut = cut
        self.first = first
        self.last = last
        self.filled = 0
        self.intact = True
        self._samples: np.ndarray | None = None

    @property
    def waveform(self) -> np.ndarray:
        """Samples of the whole span; silence where none have come."""
        if self._samples is None:
            self._samples = np.zeros(self.last - self.first, np.float32)
        return self._samples

    def take(self, chunk: Chunk) -> None:
        """Keeps what of the chunk lies within the span."""
        start, stop = max(self.first, chunk.first), min(self.last, chunk.last)
        if start >= stop:
            return
        self.waveform[start - self.first : stop - self.first] = chunk.samples[
            start - chunk.first : stop - chunk.first
        ]
        self.filled += stop - start
        self.intact &= chunk.intact


def _finished(piece: Piece, rule: AudioRule) -> Iterator[Outcome]:
    """The log-mel picture of a gathered waveform, or why there is none."""
    if not piece.intact:
        yield Refusal(cut=piece.cut, reason="its sound is damaged and cannot be decoded whole")
    elif not piece.filled and rule.missing != "silence":
        yield Refusal(cut=piece.cut, reason="has no sound; allow silence with `missing_audio: silence`")
    else:
        silent_s = (len(piece.waveform) - piece.filled) / rule.sample_rate_hz
        if silent_s > _MISSING_S:
            yield Note(text=f"has no sound for {silent_s:.2f} s of a clip; silence is read there")
        yield Clip(cut=piece.cut, values=log_mel(piece.waveform, rule))


def resampled_audio(
    container: InputContainer, media: Media, rate_hz: int, *, alive: Alive
) -> Iterator[Chunk]:
    """The mono sound in order; what cannot be decoded comes as a chunk that is not intact."""
    assert media.audio is not None
    resampler: av.AudioResampler | None = None
    setup = None
    position = round(media.audio.start_s * rate_hz)
    expected_s = media.audio.start_s
    broken = False

    def mono(frame: AudioFrame | None) -> Iterator[Chunk]:
        nonlocal position
        assert resampler is not None
        for part in resampler.resample(frame):
            samples = part.to_ndarray().reshape(-1, part.layout.nb_channels).mean(axis=1, dtype=np.float32)
            yield Chunk(first=position, samples=samples, intact=frame is None or not frame.is_corrupt)
            position += len(samples)

    for frame in _decoded(container, media, alive=alive):
        if frame is None:
            broken = True
            continue
        time_s = expected_s
        if frame.pts is not None and frame.time_base is not None and media.audio.timed:
            time_s = float(frame.pts * frame.time_base) - media.origin_s
        if time_s < expected_s - _GAP_S:
            raise UnreadableClip(
                media.path,
                f"the timestamps of its sound jump back from {expected_s:.2f} s to {time_s:.2f} s; "
                "re-encode it to repair them",
            )
        _refuse_odd(frame, media)
        arrangement = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or arrangement != setup or time_s > expected_s + _GAP_S or broken:
            if resampler is not None:
                yield from mono(None)
            first = round(time_s * rate_hz)
            if broken and first > position:
                yield Chunk(first=position, samples=_silence(first - position), intact=False)
            # Interleaved samples: PyAV reads planes beyond the eighth channel from where there are none.
            resampler, setup = av.AudioResampler(format="flt", rate=rate_hz), arrangement
            position, expected_s, broken = first, time_s, False
        try:
            yield from mono(frame)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            if reason := over_limit(error, media.limits):
                raise UnreadableClip(media.path, reason) from None
            raise UnreadableClip(
                media.path, f"its sound {arrangement} cannot be resampled: {message_of(error)}"
            ) from None
        expected_s += frame.samples / frame.sample_rate
    if resampler is not None:
        yield from mono(None)
    missing = round(media.audio.end_s * rate_hz) - position
    if broken and missing > 0:
        yield Chunk(first=position, samples=_silence(missing), intact=False)


def _silence(samples: int) -> np.ndarray:
    """So many zeros, in the memory of one: damage may claim to last for days."""
    return np.broadcast_to(np.float32(0), samples)


def _refuse_odd(frame: AudioFrame, media: Media) -> None:
    """Raises `UnreadableClip` for sound whose resampling would take what no real sound takes."""
    low_hz, high_hz = _RATES_HZ
    if not low_hz <= frame.sample_rate <= high_hz:
        reason = f"its sound has {frame.sample_rate:,} samples a second; {low_hz:,} to {high_hz:,} are read"
        raise UnreadableClip(media.path, reason)


def _decoded(container: InputContainer, media: Media, *, alive: Alive) -> Iterator[AudioFrame | None]:
    """Every frame of the sound in order; None where one cannot be decoded."""
    assert media.audio is not None
    stream = container.streams[media.audio.index]
    if stream.codec_context is None:
        raise UnreadableClip(media.path, "has sound in a format that FFmpeg cannot decode")
    frames = decoded(container, stream, path=media.path, limits=media.limits, alive=alive)
    yield from cast(Iterator[AudioFrame | None], frames)

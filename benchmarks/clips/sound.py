"""Audio of clips: one pass through a file gives the log-mel spectrograms of all clips in it.

    waveform = mean of the channels, resampled to `sample_rate_hz`, cut to the span, zeros where audio is missing
    power[f, b] = |rfft(hann * waveform around f * hop)[b]|^2, hann periodic, zeros outside the span,
                  f = 0 .. samples // hop
    mel[f, m] = sum over b of triangle[m, b] * power[f, b]
    output[m, k] = mean of ln(mel + 1e-6), linear in time, at the centres of p equal parts of bin k,
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
"""Deviation of timestamps above which they count as a gap; real files round them and drift slightly."""
_RATES_HZ = (1_000, 3_000_000)
"""Range of supported sample rates, up to one-bit audio (DSD256, in bytes)."""
_MISSING_S = 0.25
"""Audio may start later or end earlier than video by this much without a note."""
_STFT_FRAMES = 4096
"""Frames per FFT call, which bounds the memory for long clips."""


@dataclass(frozen=True, kw_only=True)
class AudioRule:
    """The fields of an `AudioSpec` that determine the computed values; quick to import, for worker processes."""

    sample_rate_hz: int
    window: int
    hop: int
    mels: int
    bins: int
    missing: str = "refuse"
    """`silence` uses a silent waveform for files without audio; `refuse` refuses them."""

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
    """Log-mel spectrogram of each cut, float32 `M B`, not yet normalised.

    Missing audio within a span is replaced by silence, with a note if it is longer than 0.25 s. A clip without any
    audio is refused, or silent if `rule.missing` is `silence`. A clip with damaged audio is refused.

    Raises `UnreadableClip` when the file, or the rest of it, cannot be read.
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
            has = f"the audio of the clip {start_s:g}..{end_s:g} s has {last - first:,} samples"
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
    """Log-mel spectrogram, float32 `M B`, of a mono waveform in -1..1 that covers the span; see the module
    docstring."""
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
    """Weights `M (window // 2 + 1)` of the mel bands; see the module docstring.

    Raises ValueError when a band is so narrow that it contains no frequency of the FFT.
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
            f"{empty} of them are empty; use fewer bands or a longer window"
        )
    return triangles.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Samples from index `first` on; `intact` is False where the audio is damaged."""

    first: int
    samples: np.ndarray
    intact: bool = True

    @property
    def last(self) -> int:
        """Index after the last sample."""
        return self.first + len(self.samples)


class Piece:
    """The partial waveform of one clip, samples `first` to `last` of the file."""

    def __init__(self, *, cut: int, first: int, last: int) -> None:
        self.cut = cut
        self.first = first
        self.last = last
        self.filled = 0
        self.intact = True
        self._samples: np.ndarray | None = None

    @property
    def waveform(self) -> np.ndarray:
        """Samples of the whole span; zeros where none were decoded."""
        if self._samples is None:
            self._samples = np.zeros(self.last - self.first, np.float32)
        return self._samples

    def take(self, chunk: Chunk) -> None:
        """Copies the part of the chunk within the span."""
        start, stop = max(self.first, chunk.first), min(self.last, chunk.last)
        if start >= stop:
            return
        self.waveform[start - self.first : stop - self.first] = chunk.samples[
            start - chunk.first : stop - chunk.first
        ]
        self.filled += stop - start
        self.intact &= chunk.intact


def _finished(piece: Piece, rule: AudioRule) -> Iterator[Outcome]:
    """The log-mel spectrogram of a complete waveform, or the reason why there is none."""
    if not piece.intact:
        yield Refusal(cut=piece.cut, reason="its audio is damaged and cannot be decoded completely")
    elif not piece.filled and rule.missing != "silence":
        yield Refusal(cut=piece.cut, reason="has no audio; allow silence with `missing_audio: silence`")
    else:
        silent_s = (len(piece.waveform) - piece.filled) / rule.sample_rate_hz
        if silent_s > _MISSING_S:
            yield Note(text=f"has no audio for {silent_s:.2f} s of a clip, which is replaced by silence")
        yield Clip(cut=piece.cut, values=log_mel(piece.waveform, rule))


def resampled_audio(
    container: InputContainer, media: Media, rate_hz: int, *, alive: Alive
) -> Iterator[Chunk]:
    """Yields mono audio in order; a part that cannot be decoded is a chunk that is not intact."""
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
                f"the timestamps of its audio jump back from {expected_s:.2f} s to {time_s:.2f} s; "
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
            # Interleaved samples: PyAV reads planes beyond the eighth channel out of bounds.
            resampler, setup = av.AudioResampler(format="flt", rate=rate_hz), arrangement
            position, expected_s, broken = first, time_s, False
        try:
            yield from mono(frame)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            if reason := over_limit(error, media.limits):
                raise UnreadableClip(media.path, reason) from None
            raise UnreadableClip(
                media.path, f"its audio {arrangement} cannot be resampled: {message_of(error)}"
            ) from None
        expected_s += frame.samples / frame.sample_rate
    if resampler is not None:
        yield from mono(None)
    missing = round(media.audio.end_s * rate_hz) - position
    if broken and missing > 0:
        yield Chunk(first=position, samples=_silence(missing), intact=False)


def _silence(samples: int) -> np.ndarray:
    """Zeros in the memory of one value: a damaged timestamp may claim days."""
    return np.broadcast_to(np.float32(0), samples)


def _refuse_odd(frame: AudioFrame, media: Media) -> None:
    """Raises `UnreadableClip` for audio with an unsupported sample rate or channel layout."""
    low_hz, high_hz = _RATES_HZ
    if not low_hz <= frame.sample_rate <= high_hz:
        reason = (
            f"its audio has {frame.sample_rate:,} samples per second; supported are {low_hz:,} to {high_hz:,}"
        )
        raise UnreadableClip(media.path, reason)


def _decoded(container: InputContainer, media: Media, *, alive: Alive) -> Iterator[AudioFrame | None]:
    """Yields audio frames in order; None for one that cannot be decoded."""
    assert media.audio is not None
    stream = container.streams[media.audio.index]
    if stream.codec_context is None:
        raise UnreadableClip(media.path, "has audio in a format that FFmpeg cannot decode")
    frames = decoded(container, stream, path=media.path, limits=media.limits, alive=alive)
    yield from cast(Iterator[AudioFrame | None], frames)

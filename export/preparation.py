"""Preprocessing of each input of a file: parameters as data, and formulas with the network's numbers.

They describe what `benchmarks.clips` computes. `tests/compress/test_follow_manifest.py` verifies them: a script
that uses only the formulas must compute the same tensors.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models.spec import PAD_TOKEN, UNKNOWN_TOKEN, AudioSpec, TextSpec, VideoSpec

MATRICES: dict[str, dict[str, Any]] = {
    "bt709": {"codes": [1], "kr": 0.2126, "kb": 0.0722},
    "fcc": {"codes": [4], "kr": 0.3, "kb": 0.11},
    "bt601": {"codes": [5, 6], "kr": 0.299, "kb": 0.114},
    "smpte240m": {"codes": [7], "kr": 0.212, "kb": 0.087},
    "bt2020": {"codes": [9], "kr": 0.2627, "kb": 0.0593},
}
"""Weights of red and blue in the luma of each YUV matrix, and their codes in ISO/IEC 23091-2; videos without a code
are read as `bt601`."""

VIDEO_TOLERANCE = 0.005
"""Tolerance of the video formulas, measured on encoded videos: a byte may round to its neighbour."""
AUDIO_TOLERANCE = 0.02
"""The same for audio, in units of the log-mel: the tables of the resampler have limited precision."""

WORD = "(?:[^\\W_]|')+"
"""A run of letters, digits (of any script) and apostrophes, in the syntax of Python's `re`."""


def prepare_clip(video: VideoSpec) -> dict[str, Any]:
    """How frames are selected, converted and scaled."""
    t, size, resize, stride = video.frames, video.size, video.resize, video.stride
    edge = (resize - size) // 2
    choice = {
        "uniform": f"Frame i of {t}, i = 0..{t - 1}, is the one shown at "
        f"start + (i + 0.5) * (end - start) / {t}.",
        "strided": f"Of the n frames whose time lies in start <= time < end, in order, take numbers "
        f"min(first + {stride} * i, n - 1) for i = 0..{t - 1}, "
        f"with first = max(0, (n - {(t - 1) * stride + 1}) // 2).",
    }
    return {
        "frames": t,
        "sampling": video.sampling,
        "stride": stride,
        "size": size,
        "resize": resize,
        "crop": "center",
        "color": "RGB",
        "value_range": [0, 1],
        "scaling": {"filter": "triangle", "antialias": True, "edges": "repeat"},
        "matrices": MATRICES,
        "untagged": {"matrix": "bt601", "range": "limited"},
        "tolerance": VIDEO_TOLERANCE,
        "rule": [
            "Times count from the first frame or sample of the file; a clip that is a whole file starts with its "
            "first frame and ends when its last frame has been shown for its duration. "
            f"{choice[video.sampling]} The frame shown at a time is the last one that is not later "
            "(by more than a microsecond).",
            f"Scale the frame of W x H pixels, each `aspect` times as wide as high, to w x h, the short side "
            f"being {resize}: f = {resize} / min(W * aspect, H), w = max({resize}, round(W * aspect * f)), "
            f"h = max({resize}, round(H * f)); halves round to the even number.",
            "Scale each plane of the YUV frame by itself, chroma to the same w x h as luma, rows and columns "
            "alike: "
            "output i of n from m values with s = m / n and r = max(1, s) is the mean of the values j = ..., -1, "
            "0, 1, ... (those outside are the nearest one inside) weighted by max(0, 1 - |j - c| / r), "
            "c = (i + 0.5) * s - 0.5. This is bilinear with antialiasing: when it reduces, the triangle "
            "grows with s (as in Pillow's BILINEAR, or torch's interpolate with antialias=True). Plain bilinear, "
            "of two values each, gives other pictures wherever there are fine textures.",
            "Chroma of 4:2:0 and 4:2:2 whose samples lie with the left luma column (`left`: H.264 and HEVC "
            "unless they say otherwise, and MPEG-2): c + 0.25 along rows. Chroma in the middle (`center`: "
            "MPEG-1, JPEG, VP8, VP9 and AV1 unless they say otherwise): c as it is.",
            "Convert to R'G'B' with the matrix (kr, kb) and the range that the video names. Limited range: "
            "y = (Y - 16) * 255 / 219, u = (U - 128) * 255 / 224, v = (V - 128) * 255 / 224; full range: y = Y, "
            "u = U - 128, v = V - 128. R = y + 2 (1 - kr) v; B = y + 2 (1 - kb) u; "
            "G = (y - kr R - kb B) / (1 - kr - kb). No gamma, no tone mapping. Clamp to 0..255 and round: "
            "intermediate values are not rounded. Samples of more than 8 bits are brought to that scale first "
            "(10 bits: divided by 4). A first row or column that is not cut away below may differ by more than "
            "the tolerance: FFmpeg weighs the edge otherwise.",
            "Turn and mirror the picture upright as the video's rotation asks. With w x h its size now, cut out "
            f"{size} x {size} from row (h - {resize}) // 2 + {edge} and column (w - {resize}) // 2 + {edge} on.",
            "Divide the RGB bytes by 255. Do not subtract a mean: the file does that for itself.",
        ],
    }


def prepare_audio(audio: AudioSpec) -> dict[str, Any]:
    """How audio becomes a log-mel spectrogram."""
    rate, window, hop, mels, bins = audio.sample_rate_hz, audio.window, audio.hop, audio.mels, audio.bins
    return {
        **asdict(audio),
        "channels": "mean",
        "resampling": {"filter": "sinc", "taps": 32, "cutoff": 0.97, "window": "kaiser", "beta": 9.0},
        "window_function": "hann, periodic",
        "fft": window,
        "spectrum": "power",
        "centered": True,
        "padding": "zeros",
        "mel_scale": "htk",
        "mel_norm": None,
        "low_hz": 0.0,
        "high_hz": rate / 2,
        "logarithm": "natural",
        "floor": 1e-6,
        "tolerance": AUDIO_TOLERANCE / audio.std,
        "rule": [
            f"Resample each channel to {rate} Hz, values in -1..1, and take the mean of the channels. The "
            f"resampler is FFmpeg's: with q = min(1, 0.97 * {rate} / source rate) and N = ceil(32 / q), sample "
            f"n is the mean of source samples k around t = n * source rate / {rate}, k = floor(t) - (N - 1) // 2 "
            "and the N - 1 after it, weighted by sinc(q d) * I0(9 sqrt(1 - (2 d / N)^2)) with d = k - t; before "
            "its first and behind its last sample the sound is mirrored. Another resampler of good quality is "
            "within the tolerance below its cutoff.",
            f"The clip from start to end (in seconds, the same as the picture's) has the samples "
            f"round(start * {rate}) to round(end * {rate}), the last one not included: S of them. Where "
            "there is no sound, they are 0.",
            f"There are F = S // {hop} + 1 windows. Window f has the {window} samples from f * {hop} - "
            f"{window // 2} on, so it is centred on sample f * {hop}; samples outside the clip are 0. Multiply "
            f"sample j of it by 0.5 - 0.5 cos(2 pi j / {window}), transform (FFT of {window} values, no scaling), "
            f"and take power[f, b] = |X[b]|^2 for b = 0..{window // 2}; its frequency is b * {rate} / {window} Hz.",
            f"Mel bands: {mels + 2} corners e[0..{mels + 1}] evenly spaced on 2595 log10(1 + Hz / 700) "
            f"from 0 to {rate / 2:g} Hz, back in Hz. Band m weighs a frequency z by "
            "max(0, min((z - e[m]) / (e[m + 1] - e[m]), (e[m + 2] - z) / (e[m + 2] - e[m + 1]))): triangles of "
            "height 1, not divided by their width. L[f, m] = ln(sum over b of weight * power + 1e-6).",
            f"The {bins} bins span the clip, from sample 0 to S, and not the windows: with p = ceil(F / {bins}), "
            f"x[m, k] is the mean over i = 0..p-1 of L at the window position u = (k * p + i + 0.5) / ({bins} * p) "
            f"* S / {hop}, linear between windows floor(u) and floor(u) + 1 (the last window stays where there is "
            "no further one).",
            f"Give (x - {audio.mean:g}) / {audio.std:g}: the file does not do that for itself.",
        ],
    }


def prepare_text(text: TextSpec) -> dict[str, Any]:
    """How text becomes tokens."""
    return {
        **asdict(text),
        "padding": PAD_TOKEN,
        "unknown": UNKNOWN_TOKEN,
        "first_word": UNKNOWN_TOKEN + 1,
        "word_pattern": WORD,
        "rule": [
            "Lower-case the caption (Unicode); its words are the runs of letters, digits (of any script) and "
            "apostrophes (U+0027). Everything else, underscores and hyphens too, separates them.",
            f"A word's number is its place in the vocabulary (from 0) + {UNKNOWN_TOKEN + 1}; an unknown word's is "
            f"{UNKNOWN_TOKEN}.",
            f"Keep the first {text.length} numbers and fill up with {PAD_TOKEN} behind them.",
        ],
    }

"""Preprocesses clips as `manifest.json` defines, and runs files on them. Nothing of this project is imported here.

Short on purpose: an application has to do no more than this.
"""

import math
import re

import av
import numpy as np


def inputs(manifest, video, caption=""):
    """Every input as `reference/<name>.npy` has it."""
    frames, sounds = decoded(video, "video"), decoded(video, "audio")
    zero = min(each[0].time for each in (frames, sounds) if each)
    times = np.array([frame.time - zero for frame in frames])
    start, end = times[0], times[-1] + float(frames[-1].duration * frames[-1].time_base)
    made = {}
    if rule := manifest["clip"]:
        i = np.arange(rule["frames"])
        if rule["sampling"] == "uniform":
            asked = start + (i + 0.5) * (end - start) / rule["frames"]
            chosen = np.searchsorted(times, asked + 1e-6, side="right") - 1
        else:
            first = max(0, (len(times) - ((rule["frames"] - 1) * rule["stride"] + 1)) // 2)
            chosen = np.minimum(first + rule["stride"] * i, len(times) - 1)
        made["clip"] = np.stack([picture(rule, frames[k]) for k in chosen], 1)[None] / np.float32(255)
    if rule := manifest["audio"]:
        rate = rule["sample_rate_hz"]
        begin, stop = round(start * rate), round(end * rate)
        wave = np.zeros(stop)
        if sounds:
            parts = np.concatenate([channels(part) for part in sounds], 1)
            mono = np.mean([resampled(rule, one, sounds[0].rate) for one in parts], 0)
            at = round((sounds[0].time - zero) * rate)
            wave[at : at + len(mono)] = mono[: stop - at]
        made["audio"] = log_mel(rule, wave[begin:])[None, None]
    if rule := manifest["text"]:
        number = {word: rule["first_word"] + place for place, word in enumerate(rule["vocabulary"])}
        found = [
            number.get(word, rule["unknown"]) for word in re.findall(rule["word_pattern"], caption.lower())
        ]
        made["text"] = np.array([(found + [rule["padding"]] * rule["length"])[: rule["length"]]])
    return made


def decoded(video, kind):
    with av.open(str(video)) as container:
        return list(container.decode(**{kind: 0})) if getattr(container.streams, kind) else []


def picture(rule, frame):
    """float32 `3 H W`, whole numbers 0..255, of an upright 8-bit H.264 frame with square pixels."""
    factor = rule["resize"] / min(frame.width, frame.height)
    w, h = (max(rule["resize"], round(side * factor)) for side in (frame.width, frame.height))
    y, u, v = (
        triangles(plane.height, h)
        @ np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        @ triangles(plane.width, w, shift=0.25 if plane.width < frame.width else 0).T
        for plane in frame.planes
    )
    named = [one for one in rule["matrices"].values() if frame.colorspace in one["codes"]]
    kr, kb = map((*named, rule["matrices"][rule["untagged"]["matrix"]])[0].get, ("kr", "kb"))
    y, u, v = y, u - 128, v - 128
    if frame.color_range != 2:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    rgb = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])
    top, left = ((side - rule["resize"]) // 2 + (rule["resize"] - rule["size"]) // 2 for side in (h, w))
    return np.rint(rgb.clip(0, 255)).astype(np.float32)[:, top:, left:][:, : rule["size"], : rule["size"]]


def triangles(m, n, shift=0.0):
    """Weights `n m`."""
    r, c = max(1, m / n), (np.arange(n)[:, None] + 0.5) * m / n - 0.5 + shift
    j = np.floor(c - r).astype(int) + np.arange(math.ceil(2 * r) + 2)
    weights = np.zeros((n, m))
    np.add.at(weights, (np.arange(n)[:, None], j.clip(0, m - 1)), np.maximum(0, 1 - np.abs(j - c) / r))
    return weights / weights.sum(1, keepdims=True)


def channels(part):
    """`channels samples` in -1..1."""
    values = (
        part.to_ndarray()
        if part.format.is_planar
        else part.to_ndarray().reshape(-1, part.layout.nb_channels).T
    )
    return values.astype(float) / (1 if part.format.name.startswith("flt") else 2**15)


def resampled(rule, x, source_hz):
    rate, kernel = rule["sample_rate_hz"], rule["resampling"]
    if rate == source_hz:
        return x
    q = min(1, kernel["cutoff"] * rate / source_hz)
    n = math.ceil(kernel["taps"] / q)
    t = np.arange(math.ceil(len(x) * rate / source_hz))[:, None] * source_hz / rate
    k = np.floor(t).astype(int) - (n - 1) // 2 + np.arange(n)
    weights = np.sinc(q * (k - t)) * np.i0(
        kernel["beta"] * np.sqrt(np.maximum(0, 1 - (2 * (k - t) / n) ** 2))
    )
    mirrored = np.concatenate([x[n:0:-1], x, x[: -n - 1 : -1]])
    return (weights * mirrored[k + n]).sum(1) / weights.sum(1)


def log_mel(rule, wave):
    """float32 `M B`."""
    hop, window, rate = rule["hop"], rule["window"], rule["sample_rate_hz"]
    padded, count = np.pad(wave, (window // 2, window)), len(wave) // hop + 1
    spans = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:count]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(spans * hann, rule["fft"])) ** 2
    low, high = (2595 * math.log10(1 + rule[edge] / 700) for edge in ("low_hz", "high_hz"))
    e = 700 * (10 ** (np.linspace(low, high, rule["mels"] + 2) / 2595) - 1)[:, None]
    z = np.arange(window // 2 + 1) * rate / window
    bands = np.maximum(0, np.minimum((z - e[:-2]) / (e[1:-1] - e[:-2]), (e[2:] - z) / (e[2:] - e[1:-1])))
    logs = np.log(power @ bands.T + rule["floor"])
    p = math.ceil(count / rule["bins"])
    u = (np.arange(rule["bins"] * p) + 0.5) / (rule["bins"] * p) * len(wave) / hop
    picture = np.array([np.interp(u, np.arange(count), band) for band in logs.T])
    return ((picture.reshape(-1, rule["bins"], p).mean(2) - rule["mean"]) / rule["std"]).astype(np.float32)


def run(export, row, made):
    """The outputs of one file by name."""
    axes = {"clip": "NCTHW", "audio": "NCMB", "text": "NL"}
    fed = {
        one["name"]: np.ascontiguousarray(
            made[one["name"]].transpose([axes[one["name"]].index(axis) for axis in one["layout"]]),
            one["dtype"],
        )
        for one in row["inputs"]
    }
    if row["format"] == "onnx":
        import onnxruntime

        names = [one["name"] for one in row["outputs"]]
        return dict(
            zip(names, onnxruntime.InferenceSession(export / row["path"]).run(names, fed), strict=True)
        )
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(export / row["path"])).get_signature_runner("serving_default")(**fed)

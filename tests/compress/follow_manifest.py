"""Prepares a clip as `manifest.json` says, and nothing else: no module of this project is imported here.

`inputs(manifest, video, caption)` gives every input in the layout of torch, `N` first; `run` feeds a file.
"""

import math
import re

import av
import numpy as np


def inputs(manifest, video, caption=None):
    made = {}
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0)) if container.streams.video else []
    with av.open(str(video)) as container:
        sounds = list(container.decode(audio=0)) if container.streams.audio else []
    first_s = min(each[0].time for each in (frames, sounds) if each)
    start, end = frames[0].time - first_s, frames[-1].time + float(frames[-1].duration * frames[-1].time_base)
    if manifest["clip"]:
        made["clip"] = pictures(manifest["clip"], frames, start, end - first_s, first_s)
    if manifest["audio"]:
        made["audio"] = log_mel(manifest["audio"], sounds, start, end - first_s, first_s)
    if text := manifest["text"]:
        ids = {word: text["first_word"] + place for place, word in enumerate(text["vocabulary"])}
        found = [ids.get(word, text["unknown"]) for word in re.findall(text["word_pattern"], caption.lower())]
        made["text"] = np.array(
            [(found + [text["padding"]] * text["length"])[: text["length"]]], dtype=np.int64
        )
    return made


def pictures(rule, frames, start, end, first_s):
    times = np.array([frame.time - first_s for frame in frames])
    i = np.arange(rule["frames"])
    if rule["sampling"] == "uniform":
        asked = start + (i + 0.5) * (end - start) / rule["frames"]
        chosen = np.searchsorted(times, asked + 1e-6, side="right") - 1
    else:
        n = len(times)
        first = max(0, (n - ((rule["frames"] - 1) * rule["stride"] + 1)) // 2)
        chosen = np.minimum(first + rule["stride"] * i, n - 1)
    squares = {k: square(rule, frames[k]) for k in set(chosen.tolist())}
    clip = np.stack([squares[k] for k in chosen.tolist()]) / 255
    return clip.transpose(3, 0, 1, 2)[None].astype(np.float32)


def square(rule, frame):
    short = min(frame.width, frame.height)
    w, h = (max(rule["resize"], round(side * rule["resize"] / short)) for side in (frame.width, frame.height))
    # PyAV does not show where a video says its chroma samples lie; in H.264 that is left, unless it says otherwise.
    planes = []
    for number, plane in enumerate(frame.planes):
        values = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        left = 0.25 if number and plane.width < frame.width else 0.0
        planes.append(triangles(plane.height, h) @ values.astype(float) @ triangles(plane.width, w, left).T)
    full = frame.color_range == 2 or (frame.color_range == 0 and rule["untagged"]["range"] == "full")
    y, u, v = planes[0], planes[1] - 128, planes[2] - 128
    if not full:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    named = [each for each in rule["matrices"].values() if frame.colorspace in each["codes"]]
    matrix = named[0] if named else rule["matrices"][rule["untagged"]["matrix"]]
    kr, kb = matrix["kr"], matrix["kb"]
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    rgb = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1)
    edge = (rule["resize"] - rule["size"]) // 2
    top, left = (h - rule["resize"]) // 2 + edge, (w - rule["resize"]) // 2 + edge
    return np.rint(rgb.clip(0, 255))[top : top + rule["size"], left : left + rule["size"]]


def triangles(m, n, shift=0.0):
    s = m / n
    r, c = max(1.0, s), (np.arange(n)[:, None] + 0.5) * s - 0.5 + shift
    j = np.floor(c - r).astype(int) + np.arange(math.ceil(2 * r) + 2)
    weights = np.zeros((n, m))
    np.add.at(weights, (np.arange(n)[:, None], j.clip(0, m - 1)), np.maximum(0, 1 - np.abs(j - c) / r))
    return weights / weights.sum(1, keepdims=True)


def log_mel(rule, sounds, start, end, first_s):
    rate, hop, window, bins = rule["sample_rate_hz"], rule["hop"], rule["window"], rule["bins"]
    channels = np.concatenate([floats(frame) for frame in sounds], axis=1)
    sound = np.stack([resampled(rule, one, sounds[0].sample_rate) for one in channels]).mean(0)
    begin = round((sounds[0].time - first_s) * rate) - round(start * rate)
    samples = round(end * rate) - round(start * rate)
    sound = np.concatenate([np.zeros(max(0, begin)), sound[max(0, -begin) :], np.zeros(samples)])[:samples]
    count = samples // hop + 1
    padded = np.pad(sound, (window // 2, window))
    spans = np.stack([padded[f * hop : f * hop + window] for f in range(count)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(spans * hann, rule["fft"])) ** 2
    top = 2595 * math.log10(1 + rule["high_hz"] / 700)
    e = 700 * (10 ** (np.linspace(0, top, rule["mels"] + 2) / 2595) - 1)
    z = np.arange(power.shape[1]) * rate / rule["fft"]
    up, down = ((z - e[:-2, None]) / np.diff(e)[:-1, None], (e[2:, None] - z) / np.diff(e)[1:, None])
    bands = np.log(power @ np.maximum(0, np.minimum(up, down)).T + rule["floor"])
    p = math.ceil(count / bins)
    u = (np.arange(bins * p) + 0.5) / (bins * p) * samples / hop
    at = np.minimum(u.astype(int), count - 1)
    after = np.minimum(at + 1, count - 1)
    values = bands[at] + (u - at)[:, None] * (bands[after] - bands[at])
    picture = values.reshape(bins, p, -1).mean(1).T
    return ((picture - rule["mean"]) / rule["std"])[None, None].astype(np.float32)


def floats(frame):
    values = frame.to_ndarray().astype(float)
    values = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    return values if frame.format.name.startswith("flt") else values / 32768


def resampled(rule, x, source):
    kernel, rate = rule["resampling"], rule["sample_rate_hz"]
    if source == rate:
        return x
    q = min(1, kernel["cutoff"] * rate / source)
    n = math.ceil(kernel["taps"] / q)
    mirrored = np.concatenate([x[n:0:-1], x, x[: -n - 1 : -1]])
    t = np.arange(math.ceil(len(x) * rate / source)) * source / rate
    k = np.floor(t).astype(int)[:, None] - (n - 1) // 2 + np.arange(n)
    d = k - t[:, None]
    weights = np.sinc(q * d) * np.i0(kernel["beta"] * np.sqrt(np.maximum(0, 1 - (2 * d / n) ** 2)))
    return (weights / weights.sum(1, keepdims=True) * mirrored[k + n]).sum(1)


def run(export, row, made):
    """The logits of one file, by output name."""
    fed = {}
    for tensor in row["inputs"]:
        axes = {"clip": "NCTHW", "audio": "NCMB", "text": "NL"}[tensor["name"]]
        moved = made[tensor["name"]].transpose([axes.index(axis) for axis in tensor["layout"]])
        fed[tensor["name"]] = np.ascontiguousarray(moved, dtype=tensor["dtype"])
    if row["format"] == "onnx":
        import onnxruntime

        names = [tensor["name"] for tensor in row["outputs"]]
        session = onnxruntime.InferenceSession(export / row["path"])
        return dict(zip(names, session.run(names, fed), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(export / row["path"])).get_signature_runner("serving_default")(**fed)

"""Classifies a camera or a video with an exported file, on a board with Python.

    python board.py EXPORT /dev/video0
    python board.py EXPORT film.mp4 --format tflite --scheme fp32

EXPORT is the folder with manifest.json. Needs numpy, av, and onnxruntime or ai-edge-litert; nothing of Pocketreel.
For networks that take video only.
"""

import argparse
import collections
import json
import pathlib
import platform
import re

import av
import numpy as np


class Pictures:
    """Frames to float32 `3 S S` in 0..1, as `clip` of the manifest defines."""

    def __init__(self, clip):
        self.clip, self.weights = clip, {}

    def __call__(self, frame):
        """One frame of PyAV; any format, converted to 8-bit YUV with square pixels."""
        clip, side = self.clip, self.clip["resize"]
        if frame.format.name not in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"):
            frame = frame.reformat(format="yuv420p")
        factor = side / min(frame.width, frame.height)
        width, height = (max(side, round(length * factor)) for length in (frame.width, frame.height))
        y, u, v = (
            self.triangles(plane.height, height)
            @ np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            @ self.triangles(plane.width, width, 0.25 if plane.width < frame.width else 0.0).T
            for plane in frame.planes
        )
        named = [one for one in clip["matrices"].values() if frame.colorspace in one["codes"]]
        matrix = named[0] if named else clip["matrices"][clip["untagged"]["matrix"]]
        u, v = u - 128, v - 128
        if frame.color_range != 2:  # limited range
            y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
        red, blue = y + 2 * (1 - matrix["kr"]) * v, y + 2 * (1 - matrix["kb"]) * u
        green = (y - matrix["kr"] * red - matrix["kb"] * blue) / (1 - matrix["kr"] - matrix["kb"])
        inner = (side - clip["size"]) // 2
        top, left = (height - side) // 2 + inner, (width - side) // 2 + inner
        rgb = np.rint(np.stack([red, green, blue]).clip(0, 255)).astype(np.float32) / np.float32(255)
        return rgb[:, top : top + clip["size"], left : left + clip["size"]]

    def triangles(self, m, n, shift=0.0):
        """Weights `n m` of bilinear scaling with antialiasing; computed once for each size."""
        if (m, n, shift) not in self.weights:
            radius, centre = max(1.0, m / n), (np.arange(n)[:, None] + 0.5) * m / n - 0.5 + shift
            taps = np.floor(centre - radius).astype(int) + np.arange(int(np.ceil(2 * radius)) + 2)
            weights = np.zeros((n, m), np.float32)
            values = np.maximum(0, 1 - np.abs(taps - centre) / radius)
            np.add.at(weights, (np.arange(n)[:, None], taps.clip(0, m - 1)), values)
            self.weights[m, n, shift] = weights / weights.sum(1, keepdims=True)
        return self.weights[m, n, shift]


class Window:
    """The latest frames, from which the frames of a clip are selected."""

    def __init__(self, clip, seconds):
        self.clip, self.seconds = clip, seconds
        self.frames = collections.deque()  # (time in seconds, picture)

    def add(self, time, picture):
        """Adds a frame; returns the clip `1 3 T S S`, or None while frames are missing."""
        self.frames.append((time, picture))
        count, strided = self.clip["frames"], self.clip["sampling"] == "strided"
        if strided:
            needed = (count - 1) * self.clip["stride"] + 1
            while len(self.frames) > needed:
                self.frames.popleft()
            if len(self.frames) < needed:
                return None
            chosen = [self.frames[self.clip["stride"] * i] for i in range(count)]
        else:
            while self.frames[-1][0] - self.frames[0][0] >= self.seconds:
                self.frames.popleft()
            if len(self.frames) < count:
                return None
            times = np.array([one[0] for one in self.frames])
            asked = times[0] + (np.arange(count) + 0.5) * self.seconds / count
            chosen = [self.frames[k] for k in np.searchsorted(times, asked + 1e-6, side="right") - 1]
        return np.stack([one[1] for one in chosen], 1)[None]


def has_vnni():
    """Whether products of int8 are exact: on an x86 processor with VNNI, and on any other architecture."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    info = pathlib.Path("/proc/cpuinfo")
    return info.exists() and re.search(r"\bavx(512)?_vnni\b", info.read_text()) is not None


def open_file(export, row, threads):
    """A function from the clip `1 3 T S S` to logits by name."""
    (clip,) = row["inputs"]
    order = ["NCTHW".index(axis) for axis in clip["layout"]]
    path = str(export / row["path"])
    if row["format"] == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if row.get("needs", True) and not has_vnni():
            options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(path, options)
        names = [one["name"] for one in row["outputs"]]
        return lambda x: dict(zip(names, session.run(names, {clip["name"]: x.transpose(order)}), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    signature = interpreter.get_signature_runner("serving_default")
    return lambda x: signature(**{clip["name"]: np.ascontiguousarray(x.transpose(order))})


def classify(export, source, *, kind="onnx", scheme="w8a8", seconds=2.0, every=1, threads=1):
    """Yields the time and the logits by name, for every `every`-th frame."""
    manifest = json.loads((export / "manifest.json").read_text())
    if manifest["clip"] is None or manifest["audio"] or manifest["text"]:
        raise SystemExit(f"{export}: the network takes more than video")
    rows = [one for one in manifest["files"] if (one["format"], one["scheme"]) == (kind, scheme)]
    if not rows or rows[0]["status"] != "exported":
        raise SystemExit(f"{export}: has no {kind} {scheme} file")
    run = open_file(export, rows[0], threads)
    pictures, window = Pictures(manifest["clip"]), Window(manifest["clip"], seconds)
    options = {"format": "v4l2"} if str(source).startswith("/dev/video") else {}
    with av.open(str(source), **options) as container:
        first = None
        for number, frame in enumerate(container.decode(video=0)):
            first = frame.time if first is None else first
            clip = window.add(frame.time - first, pictures(frame))
            if clip is not None and number % every == 0:
                yield frame.time - first, run(clip)


def main():
    """Reads the arguments and prints predictions."""
    parser = argparse.ArgumentParser(description="Classifies a camera or a video with an exported file.")
    parser.add_argument("export", type=pathlib.Path, help="folder with manifest.json")
    parser.add_argument("source", help="camera such as /dev/video0, or a video file")
    parser.add_argument("--format", default="onnx", choices=["onnx", "tflite"])
    parser.add_argument("--scheme", default="w8a8")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a clip with uniform sampling")
    parser.add_argument("--every", type=int, default=5, help="classify every N-th frame")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    labels = json.loads((given.export / "manifest.json").read_text())["labels"]
    for time, logits in classify(
        given.export,
        given.source,
        kind=given.format,
        scheme=given.scheme,
        seconds=given.seconds,
        every=given.every,
        threads=given.threads,
    ):
        words = []
        for label, values in zip(labels, logits.values(), strict=True):
            odds = np.exp(values[0] - values[0].max())
            best = int(odds.argmax())
            words.append(f"{label['name']}: {label['classes'][best]} {odds[best] / odds.sum():.0%}")
        print(f"{time:7.2f} s  {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main()

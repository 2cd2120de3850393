"""Pictures for the report: test clips with predictions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch

from compress.data import Data
from compress.report.write import Sample
from compress.steps.pipeline import StageOutcome
from models.spec import ClipSpec

COUNT = 4


def samples(data: Data, *, teachers: Sequence[StageOutcome], student: StageOutcome) -> list[Sample]:
    """The first test clips as strips of frames, with labels and predictions; none without video."""
    if data.spec.video is None:
        return []
    clips = data.test.select(("clip",))
    pictures = []
    for index in range(min(COUNT, len(clips))):
        frames = clips.batch([index])[0][0].permute(1, 2, 3, 0)  # T H W C
        strip = np.concatenate((frames.numpy() * 255).round().astype(np.uint8), axis=1)
        caption = f"labelled {_names(clips.labels[index].tolist(), data.spec)}"
        networks = [*((one.path.replace("_", " "), one) for one in teachers), ("student", student)]
        for network, outcome in networks:
            spec = outcome.artifact.spec
            columns = outcome.test_logits[: len(spec.labels)]
            predicted = [int(column[index].argmax()) for column in columns]
            caption += f"; {network}: {_names(predicted, spec)}"
        pictures.append(Sample(png=png(strip), caption=caption))
    return pictures


MOST_BYTES = 200_000
"""Bytes of all pictures of clips."""
_HEIGHT = 72
"""Height in pixels of the frames in a picture of a clip."""


def pictures(data: Data, numbers: Sequence[int]) -> dict[int, bytes]:
    """The first, middle and last frame of test clips as JPEG, by number; none without video.

    Those that would exceed `MOST_BYTES` are left out.
    """
    if data.spec.video is None or not len(data.test):
        return {}
    clips = data.test.select(("clip",))
    found: dict[int, bytes] = {}
    total = 0
    for number in numbers:
        frames = clips.batch([number])[0][0].transpose(0, 1)  # T C H W
        chosen = frames[sorted({0, len(frames) // 2, len(frames) - 1})]
        if chosen.shape[-1] > _HEIGHT:
            chosen = torch.nn.functional.interpolate(chosen, size=(_HEIGHT, _HEIGHT), mode="area")
        strip = np.concatenate([one.permute(1, 2, 0).numpy() for one in chosen], axis=1)
        encoded = jpeg((strip * 255).round().clip(0, 255).astype(np.uint8))
        total += len(encoded)
        if total > MOST_BYTES:
            break
        found[number] = encoded
    return found


def jpeg(picture: np.ndarray) -> bytes:
    """Encodes an image, uint8 `H W 3`, as JPEG."""
    height, width = picture.shape[0] + picture.shape[0] % 2, picture.shape[1] + picture.shape[1] % 2
    even = np.pad(
        picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)), mode="edge"
    )
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuvj420p"
    encoder.time_base, encoder.options = Fraction(1, 25), {"qmin": "4", "qmax": "4"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode())


def png(picture: np.ndarray) -> bytes:
    """Encodes an image, uint8 `H W 3`, as PNG."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, encoder.pix_fmt = picture.shape[0], picture.shape[1], "rgb24"
    packets = encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    return b"".join(bytes(packet) for packet in packets + encoder.encode())


def _names(classes: list[int], spec: ClipSpec) -> str:
    return ", ".join(label.classes[number] for label, number in zip(spec.labels, classes, strict=True))

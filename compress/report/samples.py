"""Sample images for the report: a few test clips with predictions."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

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


def png(picture: np.ndarray) -> bytes:
    """Encodes an image, uint8 `H W 3`, as PNG."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, encoder.pix_fmt = picture.shape[0], picture.shape[1], "rgb24"
    packets = encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    return b"".join(bytes(packet) for packet in packets + encoder.encode())


def _names(classes: list[int], spec: ClipSpec) -> str:
    return ", ".join(label.classes[number] for label, number in zip(spec.labels, classes, strict=True))

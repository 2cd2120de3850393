"""Accuracy of an exported file on whole labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.clips.rows import ClipRow, listed
from benchmarks.exported import read_model
from benchmarks.field_data import FieldData, field_rows
from benchmarks.long_video.classify import VideoPrediction
from benchmarks.top1 import Accuracy


def labelled_videos(data: Path, model: Path, *, split: str) -> list[ClipRow]:
    """The videos of a manifest (CSV) or a folder root/split/class/video.mp4, each as a whole.

    Raises what `read_model` and `field_rows` raise, and ValueError for rows with a span.
    """
    rows = field_rows(FieldData(path=data, split=split), read_model(model)[0])
    cut = [str(row.path) for row in rows if row.start_s is not None or row.end_s is not None]
    if cut:
        raise ValueError(
            f"{data}: {len(cut)} rows have a span (start_s, end_s), but whole videos are classified; remove these "
            f"columns, or measure clips: pocketreel bench\n{listed(cut)}"
        )
    return rows


def video_accuracy(predictions: Sequence[VideoPrediction], rows: Sequence[ClipRow]) -> dict[str, Accuracy]:
    """Top-1 of each label column over the readable videos; empty if there are none."""
    pairs = [
        (prediction, row)
        for prediction, row in zip(predictions, rows, strict=True)
        if prediction.unreadable is None
    ]
    found: dict[str, Accuracy] = {}
    for name in rows[0].labels if pairs else ():
        correct = sum(prediction.top[name][0][0] == row.labels[name] for prediction, row in pairs)
        found[name] = Accuracy(correct=correct, total=len(pairs))
    return found

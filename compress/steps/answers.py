"""What every measured file, and torch, said to each test clip: `answers/` beside `benchmark.json`.

`<format>.<scheme>.csv` is for reading: one line a clip, with its label and the answer of each column.
`<format>.<scheme>.npz` has the logits as they came, in the same order of clips. `torch.<scheme>` stands for the
network that the files of a scheme hold.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clips.cache import ClipSet
from compress.store import write_atomic

FOLDER = "answers"
NAMES = ("*.csv", "*.npz")
"""Patterns of the files in it."""
TORCH = "torch"


def write_answers(folder: Path, name: str, logits: Mapping[str, np.ndarray], clips: ClipSet) -> None:
    """Writes `<name>.csv` and `<name>.npz` into `folder`.

    `logits` has `N K` by output name, of the clips in their order. A clip whose logits are not all finite has an
    empty answer, which is wrong. Paths are relative to the folder that all of the clips lie under.
    """
    arrays = io.BytesIO()
    columns_of: dict[str, Any] = {output: np.asarray(values, np.float32) for output, values in logits.items()}
    np.savez(arrays, **columns_of)
    write_atomic(folder / f"{name}.npz", arrays.getvalue())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = [label.name for label in clips.spec.labels]
    of_each = ("{}", "{}_answer", "{}_probability", "{}_right")
    writer.writerow(
        ["path", "start_s", "end_s"] + [name.format(column) for column in columns for name in of_each]
    )
    cells = [
        _cells(values, clips.labels[:, place].numpy(), label.classes)
        for place, (label, values) in enumerate(zip(clips.spec.labels, logits.values(), strict=True))
    ]
    root = os.path.commonpath([row.path.absolute().parent for row in clips.rows])
    for number, row in enumerate(clips.rows):
        path = row.path.absolute().relative_to(root).as_posix()
        times = ["" if time_s is None else f"{time_s:g}" for time_s in (row.start_s, row.end_s)]
        writer.writerow([path, *times, *(cell for column in cells for cell in column[number])])
    write_atomic(folder / f"{name}.csv", table.getvalue())


def _cells(
    logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> list[tuple[str, str, str, str]]:
    """Label, answer, its probability (softmax), and whether it is right, 1 or 0."""
    cells = []
    for values, label in zip(logits.astype(np.float64), labels, strict=True):
        if not np.isfinite(values).all():
            cells.append((classes[label], "", "", "0"))
            continue
        answer = int(values.argmax())
        probability = 1 / np.exp(values - values[answer]).sum()
        cells.append((classes[label], classes[answer], f"{probability:.4f}", str(int(answer == label))))
    return cells

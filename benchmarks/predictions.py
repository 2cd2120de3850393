"""Writes the predictions and logits of every measured file for each clip.

`<format>.<scheme>.csv` has one line per clip, with its label and the prediction for each label column.
`<format>.<scheme>.npz` has the logits, in the same order of clips. Of a file on a device other than the first, both
are named `<format>.<scheme>.<device>`. In the folder of a run, `torch.<scheme>` is the network that the files of a
scheme hold.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clips.clip_set import ClipSet
from benchmarks.files import FileId
from compress.folders.keys import Key
from compress.folders.ledger import Ledger, check_names
from compress.folders.results import Notify, notify_stderr, stored
from compress.folders.writing import write_atomic

FOLDER = "predictions"
"""Name of the folder in the run folder."""
NAMES = ("*.csv", "*.npz")
"""Patterns of the files in it."""
TORCH = "torch"


Logits = Mapping[str, np.ndarray]
"""Logits `N K` by output name, in the order of the clips."""


def predictions_name(file: FileId, *, device: str | None = None) -> str:
    """Name of the predictions of a file: `onnx.w8a8`, or `onnx.w8a8.board` on another device than the first."""
    return str(file) if device is None else f"{file}.{device}"


def keep_predictions(
    folder: Path,
    predictions: Mapping[str, Logits],
    clips: ClipSet,
    *,
    key: Key,
    notify: Notify = notify_stderr,
) -> None:
    """Writes the predictions of files and networks, by name, into `folder` and replaces earlier ones.

    Raises `FolderRefused` if the folder has files of such names that Pocketreel did not write.
    """

    def make(work: Path) -> None:
        for name, logits in predictions.items():
            write_predictions(work, name, logits, clips)

    forget_predictions(folder)
    stored(folder, key=key, make=make, load=lambda made: made, names=NAMES, notify=notify)


def check_predictions(folder: Path) -> None:
    """Raises `FolderRefused` in advance where `keep_predictions` would."""
    for place in (folder, folder.with_name(f"{folder.name}.partial")):
        check_names(place, NAMES)


def forget_predictions(folder: Path) -> None:
    """Removes the predictions written by Pocketreel from `folder`, and nothing else."""
    earlier = Ledger.read(folder)
    if earlier is not None:
        earlier.remove()


def write_predictions(folder: Path, name: str, logits: Logits, clips: ClipSet) -> None:
    """Writes `<name>.csv` and `<name>.npz` into `folder`.

    A clip with non-finite logits has an empty prediction, which counts as wrong. Paths are relative to the common
    parent folder of all clips.
    """
    arrays = io.BytesIO()
    columns_of: dict[str, Any] = {output: np.asarray(values, np.float32) for output, values in logits.items()}
    np.savez(arrays, **columns_of)
    write_atomic(folder / f"{name}.npz", arrays.getvalue())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = [label.name for label in clips.spec.labels]
    of_each = ("{}", "{}_prediction", "{}_probability", "{}_correct")
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
    """Label, prediction, its probability (softmax), and whether it is correct, 1 or 0."""
    cells = []
    for values, label in zip(logits.astype(np.float64), labels, strict=True):
        if not np.isfinite(values).all():
            cells.append((classes[label], "", "", "0"))
            continue
        predicted = int(values.argmax())
        probability = 1 / np.exp(values - values[predicted]).sum()
        cells.append((classes[label], classes[predicted], f"{probability:.4f}", str(int(predicted == label))))
    return cells

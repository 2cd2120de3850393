"""Compares the predictions of all networks and files on the test clips, in one label column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.top1 import correct_predictions
from compress.report.significance import paired_change
from compress.report_shape import (
    AgreementReport,
    ChanceReport,
    ClipReport,
    PairedReport,
    PredictionsReport,
)

MOST_CONFUSIONS, MOST_FLIPS, MOST_MISTAKES = 400, 50, 20

STUDENT = "student_float"


@dataclass(frozen=True, kw_only=True)
class Column:
    """Test clips and logits of one label column."""

    classes: Sequence[str]
    truth: np.ndarray
    """Class indices, int `N`."""
    clips: Sequence[str]
    """A name of every clip."""
    videos: Sequence[str]
    """The video of every clip."""
    networks: Mapping[str, np.ndarray]
    """Logits `N K` of torch networks, by name."""
    files: Mapping[str, np.ndarray]
    """Logits `N K` of files, by name."""

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """Logits of networks and files."""
        return {**self.networks, **self.files}


def compare_predictions(column: Column) -> PredictionsReport:
    """Per-class figures, agreement, and the clips that quantization or a runtime changes."""
    correct = {name: correct_predictions(values, column.truth) for name, values in column.logits.items()}
    predicted = {name: _predicted(values) for name, values in column.logits.items()}
    counts = np.bincount(column.truth, minlength=len(column.classes))
    examined = _examined(column)
    flipped = _flipped(column, correct)
    return {
        "clips_per_class": counts.tolist(),
        "chance": _chance(column, counts),
        "recall": {name: _recall(found, column.truth, counts) for name, found in correct.items()},
        "examined": examined,
        "confusions": [] if examined is None else _confusions(predicted[examined], column.truth),
        "agreement": _agreement(predicted),
        "flipped": len(flipped),
        "flips": [_clip(column, number, predicted) for number in flipped[:MOST_FLIPS]],
        "mistakes": [] if examined is None else _mistakes(column, predicted, examined),
    }


def changes(column: Column) -> dict[str, PairedReport]:
    """The paired change of every file from the float student; none without that network."""
    if STUDENT not in column.networks or len(column.truth) == 0:
        return {}
    before = correct_predictions(column.networks[STUDENT], column.truth)
    return {
        name: paired_change(before, correct_predictions(values, column.truth), videos=column.videos)
        for name, values in column.files.items()
    }


def _predicted(logits: np.ndarray) -> np.ndarray:
    """Class indices; -1 for non-finite logits."""
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)


def _examined(column: Column) -> str | None:
    quantized = [name for name in column.files if name.split(".")[1].startswith("w8a8")]
    students = [name for name in reversed(list(column.networks)) if name.startswith("student")]
    return next(iter([*quantized, *column.files, *students]), None)


def _chance(column: Column, counts: np.ndarray) -> ChanceReport:
    most = int(counts.argmax())
    return {"share": float(counts[most] / max(1, counts.sum())), "prediction": column.classes[most]}


def _recall(correct: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> list[float | None]:
    hits = np.bincount(truth, weights=correct, minlength=len(counts))
    return [float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True)]


def _confusions(predicted: np.ndarray, truth: np.ndarray) -> list[tuple[int, int, int]]:
    wrong = (predicted != truth) & (predicted >= 0)
    pairs, counts = np.unique(np.stack([truth[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]
    return [(int(pairs[at, 0]), int(pairs[at, 1]), int(counts[at])) for at in order]


def _agreement(predicted: Mapping[str, np.ndarray]) -> AgreementReport:
    return {
        "names": list(predicted),
        "shares": [
            [float((one == other).mean()) for other in predicted.values()] for one in predicted.values()
        ]
        if all(map(len, predicted.values()))
        else [],
    }


def _flipped(column: Column, correct: Mapping[str, np.ndarray]) -> list[int]:
    """Clips on which the float student and the files do not agree about right and wrong, most changed first."""
    sides = [correct[name] for name in (STUDENT, *column.files) if name in correct]
    if len(sides) < 2:
        return []
    changed = sum((side != sides[0]).astype(int) for side in sides[1:])
    return [int(at) for at in np.argsort(-np.asarray(changed), kind="stable") if changed[at]]


def _mistakes(column: Column, predicted: Mapping[str, np.ndarray], examined: str) -> list[ClipReport]:
    from scipy.special import softmax

    wrong = np.flatnonzero((predicted[examined] != column.truth) & (predicted[examined] >= 0))
    probabilities = softmax(column.logits[examined][wrong].astype(float), axis=1).max(axis=1)
    order = np.argsort(-probabilities, kind="stable")[:MOST_MISTAKES]
    return [
        {**_clip(column, int(wrong[at]), predicted), "probability": float(probabilities[at])} for at in order
    ]


def _clip(column: Column, number: int, predicted: Mapping[str, np.ndarray]) -> ClipReport:
    def said(at: int) -> str | None:
        return column.classes[at] if at >= 0 else None

    return {
        "number": number,
        "clip": column.clips[number],
        "label": column.classes[int(column.truth[number])],
        "predictions": {name: said(int(classes[number])) for name, classes in predicted.items()},
    }

"""Classes, confusions, clips that flipped and agreement, of each label column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from compress import figures
from compress.report.headline import MODEL_TITLES
from compress.report.predictions import STUDENT
from compress.report.wording import counted, listed, short
from compress.report_shape import ClipReport, PredictionsReport, Report

SHOWN_CLASSES, SHOWN_CONFUSIONS, SHOWN_FLIPS, SHOWN_MISTAKES = 12, 12, 8, 4
LARGEST_MATRIX = 30
"""Classes of the largest confusion matrix that is drawn."""
MOST_GROUPS = 16
"""Rows of the largest agreement matrix that is shown."""


def class_sections(report: Report) -> Iterator[dict[str, Any]]:
    """One section per label column of the student."""
    names = report.get("data", {}).get("classes", {})
    found = report.get("predictions", {})
    for label, one in found.items():
        if one["clips_per_class"]:
            classes = names[label]
            yield {
                "label": short(label) if len(found) > 1 else "",
                "chance": f"{figures.percent(one['chance']['share'])}, always predicting "
                f"{short(one['chance']['prediction'])}",
                "examined": title(one["examined"]),
                **_classes(one, classes),
                "confusions": _confusions(one, classes),
                "matrix": _matrix(one, classes),
                "flipped": one["flipped"],
                "flips": [_clip(clip, one) for clip in one["flips"][:SHOWN_FLIPS]],
                "mistakes": [_clip(clip, one) for clip in one["mistakes"][:SHOWN_MISTAKES]],
                "agreement": agreement(one["agreement"]),
            }


def shown_clips(report: Report) -> list[int]:
    """Numbers of the test clips that the page shows."""
    columns = report.get("predictions", {}).values()
    shown = [one[key][:most] for one in columns for key, most in _SHOWN.items()]  # type: ignore[literal-required]
    return list(dict.fromkeys(clip["number"] for clips in shown for clip in clips))


_SHOWN = {"flips": SHOWN_FLIPS, "mistakes": SHOWN_MISTAKES}


def title(name: str | None) -> str:
    """A network or file in words."""
    return MODEL_TITLES.get(name or "", name or "")


def _classes(one: PredictionsReport, classes: Sequence[str]) -> dict[str, Any]:
    """Rows of classes, those first whose recall changes most or is lowest; classes without clips are counted."""
    examined = one["examined"]
    before = one["recall"].get(STUDENT)
    after = one["recall"].get(examined or "")
    rows: list[tuple[float, float, dict[str, Any]]] = []
    for at, name in enumerate(classes):
        clips = one["clips_per_class"][at]
        was, now = (side[at] if side else None for side in (before, after))
        if not clips or now is None:
            continue
        lost = 0.0 if was is None else was - now
        row = {
            "name": short(name),
            "clips": clips,
            "before": figures.percent(was),
            "after": figures.percent(now),
            "width": round(100 * now, 1),
            "change": "" if was is None else figures.points(100 * lost),
        }
        rows.append((-abs(lost) * clips, now, row))
    rows.sort(key=lambda entry: entry[:2])
    table = [row for *_, row in rows]
    return {
        "classes": table[:SHOWN_CLASSES],
        "other_classes": table[SHOWN_CLASSES:],
        "without_clips": sum(count == 0 for count in one["clips_per_class"]),
        "compared": before is not None and examined != STUDENT,
    }


def _confusions(one: PredictionsReport, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "label": short(classes[label]),
            "predicted": short(classes[predicted]),
            "clips": counted(clips, "clip"),
            "of": one["clips_per_class"][label],
        }
        for label, predicted, clips in one["confusions"][:SHOWN_CONFUSIONS]
    ]


def _matrix(one: PredictionsReport, classes: Sequence[str]) -> dict[str, Any] | None:
    """Cells of the confusion matrix, in rows of labels and columns of predictions."""
    recall = one["recall"].get(one["examined"] or "")
    pairs = one["confusions"]
    if len(classes) > LARGEST_MATRIX or recall is None or len(classes) < 2:
        return None
    right = [
        (at, at, round((share or 0.0) * clips))
        for at, (share, clips) in enumerate(zip(recall, one["clips_per_class"], strict=True))
    ]
    cells = [
        {
            "x": predicted,
            "y": label,
            "clips": clips,
            "right": label == predicted,
            "strength": round(0.15 + 0.85 * clips / max(1, one["clips_per_class"][label]), 2),
            "title": f"{short(classes[label])} predicted as {short(classes[predicted])}: {counted(clips, 'clip')}",
        }
        for label, predicted, clips in [*right, *pairs]
        if clips
    ]
    return {"names": [short(name, 14) for name in classes], "cells": cells}


def _clip(clip: ClipReport, one: PredictionsReport) -> dict[str, Any]:
    """One clip: files and networks by what they predict."""
    by_prediction: dict[str | None, list[str]] = {}
    shown = {
        name: said for name, said in clip["predictions"].items() if not name.startswith("student_quantized")
    }
    for name, said in shown.items():
        by_prediction.setdefault(said, []).append(title(name))
    return {
        "number": clip["number"],
        "clip": short(clip["clip"], 60),
        "label": short(clip["label"]),
        "predictions": [
            {
                "said": "non-finite logits" if said is None else short(said),
                "right": said == clip["label"],
                "names": listed(names, most=5),
            }
            for said, names in by_prediction.items()
        ],
        "probability": figures.percent(clip["probability"]) if "probability" in clip else "",
        "examined": title(one["examined"]),
    }


def agreement(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The matrix of agreement; those that predict the same for every clip share a row."""
    names, shares = found["names"], found["shares"]
    if len(names) < 2 or not shares:
        return None
    groups: list[list[int]] = []
    for at in range(len(names)):
        same = next((group for group in groups if shares[group[0]][at] == 1.0), None)
        groups.append([at]) if same is None else same.append(at)
    shown = groups[:MOST_GROUPS]
    lowest = min((shares[a[0]][b[0]] for a in shown for b in shown), default=1.0)
    return {
        "rows": [
            {
                "number": row + 1,
                "names": ", ".join(title(names[at]) for at in group),
                "cells": [_cell(shares[group[0]][other[0]], lowest, own=other is group) for other in shown],
            }
            for row, group in enumerate(shown)
        ],
        "left_out": [title(names[at]) for at in _flat(groups[MOST_GROUPS:])],
        "all_agree": len(groups) == 1,
    }


def _cell(share: float, lowest: float, *, own: bool) -> dict[str, Any]:
    differs = 0.0 if lowest >= 1 else (1 - share) / (1 - lowest)
    # Less than complete agreement never appears as 100.
    text = "–" if own else f"{min(100 * share, 99.9) if share < 1 else 100.0:.1f}"
    return {"text": text, "strength": round(0.6 * differs, 2)}


def _flat(groups: Iterable[Iterable[int]]) -> list[int]:
    return [at for group in groups for at in group]

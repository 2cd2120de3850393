"""The task table of a report."""

from __future__ import annotations

from collections.abc import Iterator

from compress import figures
from compress.report.headline import MODEL_TITLES, models_of
from compress.report.wording import short
from compress.report_shape import Report

_NAMES = {"top1": "top-1", "top5": "top-5", "macro_f1": "macro F1", "map": "mAP"}


def task_rows(report: Report) -> Iterator[dict[str, str]]:
    """One row per network and task with its figures."""
    for name, model in models_of(report):
        for task, found in (model.get("tasks") or {}).items():
            words = ", ".join(
                f"{_in_words(figure)} {figures.percent(value)}" for figure, value in found.items()
            )
            yield {"title": MODEL_TITLES[name], "task": short(task), "figures": words}


def _in_words(figure: str) -> str:
    return _NAMES.get(figure, figure.replace("_recall_at_", " recall@"))

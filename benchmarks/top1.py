"""Top-1 accuracy of networks and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Number of correctly classified clips."""

    correct: int
    total: int

    @property
    def top1(self) -> float:
        """Share of clips whose largest logit is the labelled class, 0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that share (Wilson, 1927, JASA 22:209-212)."""
        from scipy.stats import binomtest

        found = binomtest(self.correct, self.total).proportion_ci(confidence_level=0.95, method="wilson")
        return float(found.low), float(found.high)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: accuracy, interval and counts."""
        return {
            "top1": self.top1,
            "ci95": list(self.interval),
            "correct": self.correct,
            "total": self.total,
        }


def correct_predictions(logits: Any, labels: Any) -> np.ndarray:
    """Whether each clip is classified correctly: bool `... N`, from logits `... N K` and class indices `N`.

    Both are arrays or tensors on the CPU. A clip with non-finite logits counts as wrong.
    """
    values = np.asarray(logits)
    correct: np.ndarray = (values.argmax(axis=-1) == np.asarray(labels)) & np.isfinite(values).all(axis=-1)
    return correct


def accuracy_of(logits: Any, labels: Any) -> Accuracy:
    """Top-1 of logits `N K` against class indices `N`."""
    correct = correct_predictions(logits, labels)
    return Accuracy(correct=int(correct.sum()), total=len(correct))

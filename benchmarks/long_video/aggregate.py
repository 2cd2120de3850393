"""Aggregates the predictions for the windows of a video, one at a time.

Windows are weighted by their length.

`mean`     the mean of the probabilities: what is shown most of the time
`max`      the largest probability that a class has in any window: what is shown at some time
`vote`     every window votes for its most probable class, weighted by that probability

Mean and maximum as consensus over segments: Wang et al. 2016, "Temporal Segment Networks", section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Accumulate = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Scores so far `K`, probabilities of a window `K` and its weight -> scores."""


def _mean(scores: np.ndarray, probabilities: np.ndarray, weight: float) -> np.ndarray:
    return scores + weight * probabilities


def _max(scores: np.ndarray, probabilities: np.ndarray, _: float) -> np.ndarray:
    return np.maximum(scores, probabilities)


def _vote(scores: np.ndarray, probabilities: np.ndarray, weight: float) -> np.ndarray:
    winner = int(probabilities.argmax())
    voted = scores.copy()
    voted[winner] += weight * probabilities[winner]
    return voted


AGGREGATES: dict[str, Accumulate] = {"mean": _mean, "max": _max, "vote": _vote}
"""Aggregation methods by name."""


class Aggregate:
    """The aggregated scores of a video for one label column."""

    def __init__(self, kind: str, *, classes: int) -> None:
        self._kind = kind
        self._scores = np.zeros(classes)

    def add(self, probabilities: np.ndarray, *, seconds: float) -> None:
        """Adds the probabilities `K` of one window of `seconds` length."""
        self._scores = AGGREGATES[self._kind](self._scores, probabilities, seconds)

    @property
    def scores(self) -> np.ndarray:
        """Scores of the classes, `K`: they sum to 1, except for `max`, which gives probabilities."""
        total = self._scores.sum()
        return self._scores if self._kind == "max" or not total else self._scores / total


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `K` of logits `K`."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()

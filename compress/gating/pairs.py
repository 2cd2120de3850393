"""Answers of both sides to the same clips, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.top1 import correct_predictions
from compress.gating.measured import Measured, file_of, is_network
from compress.gating.verdict import Flip


class Pair(NamedTuple):
    """Logits `N K` of both sides in one label column, for the same clips."""

    name: str
    """The file or network."""
    label: str
    classes: tuple[str, ...]
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def figure(self) -> str:
        """Its path, without the figure itself."""
        return self.name if is_network(self.name) else f"files.{self.name}"

    def flips(self, baseline: Measured) -> tuple[Flip, ...]:
        """The clips that are right on one side only, losses first."""
        was, now = (correct_predictions(side, self.truth) for side in (self.before, self.after))
        places = [*np.flatnonzero(was & ~now), *np.flatnonzero(now & ~was)]
        return tuple(
            Flip(
                clip=baseline.clips.name(place),
                label=self.classes[self.truth[place]],
                before=self._predicted(self.before[place]),
                after=self._predicted(self.after[place]),
            )
            for place in places
        )

    def _predicted(self, logits: np.ndarray) -> str | None:
        return self.classes[int(logits.argmax())] if np.isfinite(logits).all() else None

    def change(self) -> np.ndarray:
        """1 for a clip that has become wrong, -1 for one that has become right, else 0."""
        was, now = (correct_predictions(side, self.truth).astype(int) for side in (self.before, self.after))
        return was - now

    def is_the_same(self, run: Measured, baseline: Measured) -> bool:
        """Whether a difference is impossible: the same answers of the same file."""
        if not np.array_equal(self.before, self.after, equal_nan=True):
            return False
        one = file_of(self.name)
        return is_network(self.name) or run.sha256[one] == baseline.sha256[one]


def pairs_of(names: Sequence[str], labels: Sequence[str], run: Measured, baseline: Measured) -> list[Pair]:
    """The answers of each file or network in each label column.

    Both sides have the same clips and columns (`check_same_clips`).
    """
    return [
        Pair(
            name=name,
            label=label.name,
            classes=label.classes,
            truth=baseline.clips.labels[:, column],
            before=baseline.answers[name][label.name],
            after=run.answers[name][label.name],
        )
        for name in names
        for column, label in enumerate(run.spec.labels)
        if label.name in labels
    ]


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Cross-entropy of each clip, in nats: `N`, from logits `N K` and class indices; NaN for non-finite logits."""
    from scipy.special import log_softmax

    values = np.where(np.isfinite(logits).all(1, keepdims=True), logits, np.nan).astype(float)
    return -log_softmax(values, axis=1)[np.arange(len(truth)), truth]


def margin(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probability of the label minus the largest of another class: `N`, -1..1; NaN for non-finite logits."""
    from scipy.special import softmax

    values = np.where(np.isfinite(logits).all(1, keepdims=True), logits, np.nan).astype(float)
    chances = softmax(values, axis=1)
    rows = np.arange(len(truth))
    own = chances[rows, truth]
    chances[rows, truth] = -np.inf
    return own - chances.max(axis=1)

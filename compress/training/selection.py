"""Which epoch of a training is its result, when a training stops, and what the report says about it."""

from __future__ import annotations

from benchmarks.clips.clip_set import ClipSet
from compress.training.config import TrainConfig

Curve = tuple[dict[str, float], ...]
"""One row per epoch, as returned by `fit`."""


def best_epoch(curve: Curve) -> int:
    """Index of the epoch with the best validation top-1; of equal ones the last, whose learning rate is lowest."""
    return max(range(len(curve)), key=lambda epoch: (curve[epoch]["validation_top1"], epoch))


def is_over(curve: Curve, config: TrainConfig) -> bool:
    """Whether all epochs are done, or `patience` epochs were no better than the best one before them."""
    if len(curve) >= config.epochs:
        return True
    if config.patience is None or not curve:
        return False
    tops = [row["validation_top1"] for row in curve]
    return len(curve) - 1 - tops.index(max(tops)) >= config.patience


def batch_notes(config: TrainConfig, clips: ClipSet) -> tuple[str, ...]:
    """A note for a batch size that is larger than the training set."""
    if config.batch <= len(clips):
        return ()
    return (f"batch {config.batch} was reduced to the number of training clips, {len(clips)}",)


def selection_notes(config: TrainConfig, curve: Curve) -> tuple[str, ...]:
    """Notes on an early end, on the selected epoch, and on averaged weights."""
    notes = []
    if curve and len(curve) < config.epochs:
        notes.append(
            f"stopped after epoch {len(curve)} of {config.epochs}: no better validation top-1 in "
            f"{config.patience} epochs"
        )
    if curve and config.select == "best":
        best = curve[best_epoch(curve)]
        notes.append(
            f"weights of epoch {best['epoch']}, validation top-1 {100 * best['validation_top1']:.1f} %"
        )
    if curve and config.ema is not None:
        notes.append(
            f"averaged weights (ema {config.ema}), BatchNorm statistics re-estimated on training clips"
        )
    return tuple(notes)

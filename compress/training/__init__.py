"""The training of all networks: teachers, distillation, recovery after pruning, quantization-aware training."""

from __future__ import annotations

from compress.training.batches import augmentations_of
from compress.training.config import FLOAT_BATCH, LEAST_CLIPS, MAX_EPOCHS, TrainConfig
from compress.training.evaluation import accuracy, by_column, logits_by_batch, logits_of, per_label
from compress.training.loop import Job, drawn, fit
from compress.training.selection import batch_notes, selection_notes

__all__ = [
    "FLOAT_BATCH",
    "LEAST_CLIPS",
    "MAX_EPOCHS",
    "Job",
    "TrainConfig",
    "accuracy",
    "augmentations_of",
    "batch_notes",
    "by_column",
    "drawn",
    "fit",
    "logits_by_batch",
    "logits_of",
    "per_label",
    "selection_notes",
]

"""The table of distillation losses. A new one is a file here and one line."""

from __future__ import annotations

from compress.distillation.loss import DistillationLoss
from compress.distillation.soft_targets import SoftTargets

LOSSES: dict[str, type[DistillationLoss]] = {
    "soft_targets": SoftTargets,
}

"""Runs an artifact, float or quantized, on clips.

A separate module, so that results of float networks do not depend on the code of quantization.
"""

from __future__ import annotations

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.clips.clip_set import ClipSet
from compress.artifact import Artifact, Form
from compress.command.progress import bar
from compress.training import FLOAT_BATCH, logits_of


def predict(
    artifact: Artifact, clips: ClipSet, *, device: torch.device, console: Console, title: str
) -> tuple[Tensor, ...]:
    """Logits `N K` per label column for the centre crops of all clips; quantized graphs run one clip at a time."""
    model, batch = artifact.model, FLOAT_BATCH
    if artifact.form is Form.QUANTIZED:
        from export.quantize.int8_reference import for_evaluation

        assert isinstance(model, torch.fx.GraphModule)
        model, batch, device = for_evaluation(model), 1, torch.device("cpu")
    with bar(console, title) as report:
        return logits_of(model, clips, batch=batch, device=device, report=report)

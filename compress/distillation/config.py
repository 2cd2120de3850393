"""Settings of distillation: one section of a recipe for all training stages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.distillation import LOSSES

Weight = Annotated[float, Field(ge=1e-6, le=1e6)]


class DistillationConfig(BaseModel):
    """Distillation in all training stages: distill, recovery after pruning, and quantization-aware training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(
        default=2.0,
        ge=0.01,
        le=1_000,
        description="Temperature of the softmax of teacher and student; 1 leaves the logits unchanged.",
    )
    label_weight: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Weight of the cross-entropy with the labels; the distillation losses have the rest.",
    )
    losses: dict[Literal[tuple(LOSSES)], Weight] = Field(  # type: ignore[valid-type]
        default={"soft_targets": 1.0},
        min_length=1,
        max_length=len(LOSSES),
        description="Distillation losses, each with its weight.",
    )

"""How students learn from their teacher: one section of a recipe, which every stage that trains goes by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.distillation import LOSSES

Weight = Annotated[float, Field(ge=1e-6, le=1e6)]


class DistillationConfig(BaseModel):
    """What students learn from their teacher, while they are distilled, recover from pruning or train in int8."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(
        default=2.0, ge=0.01, le=1_000, description="Softens both sides' classes; 1 leaves them."
    )
    label_weight: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Weight of the labels' cross-entropy; the losses between student and teacher have the rest.",
    )
    losses: dict[Literal[tuple(LOSSES)], Weight] = Field(  # type: ignore[valid-type]
        default={"soft_targets": 1.0},
        min_length=1,
        max_length=len(LOSSES),
        description="Losses between student and teacher, each with its weight.",
    )

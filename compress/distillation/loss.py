"""The interface of distillation losses, and the settings that all have."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Size = tuple[int, ...]
"""Shape of a feature of one clip: channels, then positions (`compress.features`)."""

Weight = Annotated[float, Field(ge=0, le=1e6, description="Factor of the loss in the sum of all losses.")]
Temperature = Annotated[
    float,
    Field(ge=0.01, le=1_000, description="Divides the logits of both before the softmax."),
]
Factor = Annotated[float, Field(ge=0, le=1e6)]
LayerName = Annotated[str, Field(min_length=1, max_length=200)]


class LossSettings(BaseModel):
    """Settings of a loss on logits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: Weight


class LayerSettings(LossSettings):
    """Settings of a loss on features: a layer of each network."""

    student: LayerName = Field(
        default="embedding",
        description="Module of the student whose output is compared, by its dotted name; `embedding` is the input "
        "of the classifiers.",
    )
    teacher: LayerName = Field(default="embedding", description="Module of the teacher, likewise.")


class LogitLoss(nn.Module):
    """A row of `LOSSES` that compares the logits of one label column."""

    settings: ClassVar[type[LossSettings]]
    needs_labels: ClassVar[bool] = False
    """Whether clips without a label are left out."""

    def __init__(self, given: LossSettings) -> None:
        """`given` is an instance of `settings`."""
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """A scalar. `student` and `teacher` are logits `N K`, `labels` the class indices `N`."""
        raise NotImplementedError


class FeatureLoss(nn.Module):
    """A row of `LOSSES` that compares a layer of the student with one of the teacher.

    Its parameters are trained with the student and are not part of it. Features of the teacher are computed before
    the training and cached, like its logits.
    """

    settings: ClassVar[type[LayerSettings]]

    def __init__(self, given: LayerSettings, *, student: Size, teacher: Size) -> None:
        """`given` is an instance of `settings`. Raises `ValueError` for sizes that cannot be compared."""
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """A scalar. Both are `N` x size (`compress.features`); their sizes may differ."""
        raise NotImplementedError


DistillationLoss = LogitLoss | FeatureLoss

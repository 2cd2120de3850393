"""The interface of distillation losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from compress.criterion import Outputs

Size = tuple[int, ...]
"""Shape of a feature of one clip."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Properties of a student and its teacher for building a loss."""

    temperature: float
    """Temperature of the softmax of both."""
    classes: tuple[int, ...]
    """Number of classes of each shared label column."""
    student: Mapping[str, Size] = field(default_factory=dict)
    """Sizes of the student's features that the loss needs."""
    teacher: Mapping[str, Size] = field(default_factory=dict)


class DistillationLoss(nn.Module):
    """One row of `LOSSES`: a loss between student and teacher. Its parameters are trained with the student.

    Class attributes name the features that a loss needs (`compress.features`). Those of the teacher are computed
    before the training and cached, like its logits.
    """

    student_features: ClassVar[tuple[str, ...]] = ()
    teacher_features: ClassVar[tuple[str, ...]] = ()

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """A value for each label column of `pair.classes`, or a single one; both sides have these columns."""
        raise NotImplementedError

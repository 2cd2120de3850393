"""What a loss of distillation is, and what it is built for."""

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
    """A student and its teacher, as far as a loss between them has to know them."""

    temperature: float
    """Softens both sides' classes."""
    classes: tuple[int, ...]
    """Number of classes of each label column that both answer."""
    student: Mapping[str, Size] = field(default_factory=dict)
    """The student's features that the loss asks for."""
    teacher: Mapping[str, Size] = field(default_factory=dict)


class DistillationLoss(nn.Module):
    """One row of `LOSSES`: how far a student is from its teacher. Its parameters are trained with the student.

    Features that a loss looks at stand in its class, by the names of `compress.features`. Those of the teacher are
    computed before the training and kept, as its logits are.
    """

    student_features: ClassVar[tuple[str, ...]] = ()
    teacher_features: ClassVar[tuple[str, ...]] = ()

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """A value for each label column of `pair.classes`, or a single one; both sides have these columns."""
        raise NotImplementedError

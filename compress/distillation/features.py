"""`features`: the student's layer, through a trained projector, predicts the teacher's.

Sources: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3 (`norm: none`, `distance: mse`; weight
100 in megvii-research/mdistiller); Miles & Mikolajczyk 2024, "Understanding the Role of the Projector in Knowledge
Distillation" (SRD), whose code (roymiles/Simple-Recipe-Distillation, mode `log_bn_corr_4`) gives the defaults: a
linear projector, BatchNorm without parameters on both sides, the logarithm of the summed fourth powers, weight 1
beside labels with weight 1.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from compress.distillation.alignment import same_grid
from compress.distillation.loss import FeatureLoss, LayerSettings, Size, Weight

_EPSILON = 1e-4
"""Added to the variance, as in the official code of SRD."""
_POWER = 4
_LEAST = 1e-12
"""Keeps the logarithm finite where student and teacher are equal."""


class FeaturesSettings(LayerSettings):
    """Distance of a layer of the student, projected, from one of the teacher (FitNets; SRD)."""

    weight: Weight = 1.0
    projector: Literal["linear", "none"] = Field(
        default="linear",
        description="Maps the student's channels to the teacher's at every position; none needs equal channels.",
    )
    norm: Literal["batch", "none"] = Field(
        default="batch",
        description="Standardise every channel over the batch, on both sides.",
    )
    distance: Literal["logsum", "mse"] = Field(
        default="logsum",
        description="Logarithm of the summed fourth powers of the differences (SRD), or mean square (FitNets).",
    )


class Features(FeatureLoss):
    """Distance of the features at all positions that both have (`compress.distillation.alignment`)."""

    settings = FeaturesSettings

    def __init__(self, given: FeaturesSettings, *, student: Size, teacher: Size) -> None:
        super().__init__(given, student=student, teacher=teacher)
        self.given = given
        if given.projector == "none" and student[0] != teacher[0]:
            raise ValueError(
                f"{given.student} of the student has {student[0]} channels, {given.teacher} of the teacher "
                f"{teacher[0]}; without a projector they must be equal, so give `projector: linear`"
            )
        self.project = nn.Linear(student[0], teacher[0]) if given.projector == "linear" else nn.Identity()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance over the clips, positions and channels of the batch."""
        student, teacher = same_grid(student, teacher)
        ours, theirs = self.project(_rows(student)), _rows(teacher)
        if self.given.norm == "batch":
            ours, theirs = (F.batch_norm(x, None, None, training=True, eps=_EPSILON) for x in (ours, theirs))
        if self.given.distance == "mse":
            return F.mse_loss(ours, theirs)
        return ((ours - theirs).abs().pow(_POWER).sum() + _LEAST).log()


def _rows(feature: Tensor) -> Tensor:
    """`R C`: the channels of every clip and position."""
    return feature.movedim(1, -1).flatten(0, -2)

"""`relation`: distances and angles between the clips of a batch.

Source: Park et al. 2019, "Relational Knowledge Distillation", equations 3 to 8. Defaults of
megvii-research/mdistiller (`RKD`): distance 25, angle 50, labels with weight 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from compress.distillation.alignment import pooled
from compress.distillation.loss import Factor, FeatureLoss, LayerSettings, Size, Weight

_LEAST = 1e-12
"""Smallest squared distance, for a finite gradient of its root."""


class RelationSettings(LayerSettings):
    """Differences of the distances and angles between clips (Park et al. 2019)."""

    weight: Weight = 1.0
    distance: Factor = Field(default=25.0, description="Factor of the distances between two clips.")
    angle: Factor = Field(default=50.0, description="Factor of the angles between three clips.")


class Relation(FeatureLoss):
    """Huber losses of distances, relative to their mean, and of cosines. Maps are averaged over their positions."""

    settings = RelationSettings

    def __init__(self, given: RelationSettings, *, student: Size, teacher: Size) -> None:
        super().__init__(given, student=student, teacher=teacher)
        self.given = given

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over pairs and triples; the channels of the two may differ."""
        ours, theirs = pooled(student), pooled(teacher)
        distance = F.smooth_l1_loss(_distances(ours), _distances(theirs))
        angle = F.smooth_l1_loss(_cosines(ours), _cosines(theirs))
        return self.given.distance * distance + self.given.angle * angle


def _distances(x: Tensor) -> Tensor:
    """`N N`: distances between clips, divided by the mean over all different clips."""
    squared = (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(2)
    distances = torch.where(squared > _LEAST, squared.clamp(min=_LEAST).sqrt(), 0)
    return distances / distances[distances > 0].mean() if (distances > 0).any() else distances


def _cosines(x: Tensor) -> Tensor:
    """`N N N`: cosine of the angle at the first clip between the other two; 0 where two are the same."""
    directions = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
    return directions @ directions.transpose(1, 2)

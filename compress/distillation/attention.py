"""`attention`: where in space and time a layer responds.

Source: Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", equation 2, with powers of 2. The weight
is that of megvii-research/mdistiller (`AT`), beside labels with weight 1.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from compress.distillation.alignment import has_common_positions, same_grid
from compress.distillation.loss import FeatureLoss, LayerName, LayerSettings, Size, Weight


class AttentionSettings(LayerSettings):
    """Difference of the maps of mean squared activations (Zagoruyko & Komodakis 2017)."""

    weight: Weight = 1000.0
    student: LayerName = Field(
        description="Module of the student with a map `C H W` or `C T H W` as its output."
    )
    teacher: LayerName = Field(description="Module of the teacher, likewise.")


class Attention(FeatureLoss):
    """Mean square of the difference of two maps of length 1 per clip; the channels of the layers may differ."""

    settings = AttentionSettings

    def __init__(self, given: AttentionSettings, *, student: Size, teacher: Size) -> None:
        super().__init__(given, student=student, teacher=teacher)
        if not has_common_positions(student, teacher):
            raise ValueError(
                f"{given.student} of the student has shape {list(student)}, {given.teacher} of the teacher "
                f"{list(teacher)} (channels first), without positions in common; name layers with maps"
            )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over clips and positions."""
        student, teacher = same_grid(student, teacher)
        return F.mse_loss(_map(student), _map(teacher))


def _map(feature: Tensor) -> Tensor:
    """`N P`: mean square over the channels at every position, of length 1."""
    return F.normalize(feature.square().mean(1).flatten(1), dim=1)

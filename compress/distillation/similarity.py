"""`similarity`: which clips of a batch activate a layer alike.

Source: Tung & Mori 2019, "Similarity-Preserving Knowledge Distillation", equations 2 to 4. The weight is that of
megvii-research/mdistiller (`SP`), beside labels with weight 1.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from compress.distillation.loss import FeatureLoss, LayerSettings, Weight


class SimilaritySettings(LayerSettings):
    """Difference of the matrices of inner products between clips (Tung & Mori 2019)."""

    weight: Weight = 3000.0


class Similarity(FeatureLoss):
    """Mean square of the difference of two `N N` matrices; channels and positions of the layers may differ."""

    settings = SimilaritySettings

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over all pairs of clips."""
        return F.mse_loss(_alike(student), _alike(teacher))


def _alike(feature: Tensor) -> Tensor:
    """`N N`: inner products of the clips, every row of length 1."""
    rows = feature.flatten(1)
    return F.normalize(rows @ rows.T, dim=1)

"""`dist`: correlations of probabilities instead of equal probabilities.

Source: Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", equations 8 to 10. Defaults of the
official code (hunto/image_classification_sota, and torchdistill's configuration of it): weight 2, `beta` and
`gamma` 1, temperature 1, labels with weight 1. The loss is multiplied by the temperature squared, as there.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from compress.distillation.loss import Factor, LogitLoss, LossSettings, Temperature, Weight


class DistSettings(LossSettings):
    """One minus the correlation of probabilities, over classes and over clips (Huang et al. 2022)."""

    weight: Weight = 2.0
    temperature: Temperature = 1.0
    beta: Factor = Field(default=1.0, description="Factor of the correlation over the classes of each clip.")
    gamma: Factor = Field(default=1.0, description="Factor of the correlation over the clips of each class.")


class Dist(LogitLoss):
    """`beta * inter-class + gamma * intra-class` of one label column."""

    settings = DistSettings

    def __init__(self, given: DistSettings) -> None:
        super().__init__(given)
        self.given = given

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The mean over the clips and over the classes of the batch."""
        temperature = self.given.temperature
        ours, theirs = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
        return temperature**2 * (
            self.given.beta * uncorrelated(ours, theirs) + self.given.gamma * uncorrelated(ours.T, theirs.T)
        )


def uncorrelated(ours: Tensor, theirs: Tensor) -> Tensor:
    """One minus the mean over rows of Pearson's correlation of two `R C`: 0 for rows that are affinely related."""
    ours, theirs = (x - x.mean(1, keepdim=True) for x in (ours, theirs))
    return 1 - torch.cosine_similarity(ours, theirs, dim=1).mean()

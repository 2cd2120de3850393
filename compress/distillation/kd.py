"""`kd`: the teacher's softmax probabilities at a temperature.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2. The weight is that of
the official comparison code on CIFAR-100 (megvii-research/mdistiller, `KD.LOSS.KD_WEIGHT`, beside 0.1 for the
labels). With `standardize`: Sun et al. 2024, "Logit Standardization in Knowledge Distillation", whose code
(sunshangquan/logit-standardization-KD) uses temperature 2 and weight 9 beside 0.1 for the labels.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from compress.distillation.loss import LogitLoss, LossSettings, Temperature, Weight
from compress.losses import soft_targets, standardized


class KDSettings(LossSettings):
    """Kullback-Leibler divergence from the teacher's soft targets (Hinton et al. 2015)."""

    weight: Weight = 0.9
    temperature: Temperature = 2.0
    standardize: bool = Field(
        default=False,
        description="Compare logits in units of their standard deviation over the classes (Sun et al. 2024); "
        "published with weight 9 and temperature 2.",
    )


class KD(LogitLoss):
    """Divergence of one label column, times temperature squared."""

    settings = KDSettings

    def __init__(self, given: KDSettings) -> None:
        super().__init__(given)
        self.given = given

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The mean over the clips."""
        if self.given.standardize:
            student, teacher = standardized(student), standardized(teacher)
        return soft_targets(student, teacher, temperature=self.given.temperature)

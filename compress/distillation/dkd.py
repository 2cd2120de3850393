"""`dkd`: decoupled distillation of the labelled class and of the other classes.

Source: Zhao et al. 2022, "Decoupled Knowledge Distillation", equations 7 and 8. Defaults of the official code on
CIFAR-100 (megvii-research/mdistiller, `DKD`), where the labels have weight 1 and the loss rises over 20 epochs,
which is not part of this implementation; on ImageNet the temperature is 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from compress.distillation.loss import Factor, LogitLoss, LossSettings, Temperature, Weight
from compress.losses import standardized


class DecoupledKDSettings(LossSettings):
    """Divergence of the labelled class against the others, and among the others (Zhao et al. 2022)."""

    weight: Weight = 1.0
    temperature: Temperature = 4.0
    alpha: Factor = Field(default=1.0, description="Factor of the part of the labelled class.")
    beta: Factor = Field(default=8.0, description="Factor of the part among the other classes.")
    standardize: bool = Field(
        default=False,
        description="Compare logits in units of their standard deviation over the classes (Sun et al. 2024).",
    )


class DecoupledKD(LogitLoss):
    """`alpha * TCKD + beta * NCKD` of one label column, times temperature squared.

    With beta equal to the teacher's probability of all unlabelled classes, and alpha 1, it is the loss `kd`.
    """

    settings = DecoupledKDSettings
    needs_labels = True

    def __init__(self, given: DecoupledKDSettings) -> None:
        super().__init__(given)
        self.given = given

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The mean over the clips. A column of two classes has no part among the others."""
        if self.given.standardize:
            student, teacher = standardized(student), standardized(teacher)
        temperature = self.given.temperature
        ours = F.log_softmax(student / temperature, dim=1)
        theirs = F.log_softmax(teacher / temperature, dim=1)
        target = _divergence(_labelled_and_not(ours, labels), _labelled_and_not(theirs, labels))
        others = _divergence(_others(ours, labels), _others(theirs, labels))
        return (self.given.alpha * target + self.given.beta * others) * temperature**2


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _labelled_and_not(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """`N 2`: log-probability of the labelled class, and of all others together."""
    labelled = log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = _without(log_probabilities, labels).logsumexp(1)
    return torch.stack([labelled, others], dim=1)


def _others(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """`N K-1`: log-probabilities of the other classes, given that it is not the labelled one."""
    return F.log_softmax(_without(log_probabilities, labels), dim=1)


def _without(values: Tensor, labels: Tensor) -> Tensor:
    """`N K-1`: the values of all classes but the labelled one."""
    kept = F.one_hot(labels, values.shape[1]) == 0
    return values[kept].unflatten(0, (len(values), -1))

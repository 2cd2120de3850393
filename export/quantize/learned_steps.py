"""Fake quantization with learned step sizes, for training.

Source: Esser et al. 2020, "Learned Step Size Quantization", sections 2.1 and 2.2. Steps start from the calibrated
ranges instead of section 2.1's mean of magnitudes, which suits 2 to 4 bits, and zero points stay as calibrated. A
step is learned as a multiple of its start: an optimizer with normalised updates (Adam) then changes large and small
steps by equal shares.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)

from export.quantize.observers import Ranges, TrainedWeight, int8


def rounded(x: Tensor, step: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    """`x` in multiples of `step` (broadcast to `x`), with the gradients of the paper's equations 3 and 5.

    The gradient of `x` passes where nothing is clamped; that of `step` is `round(v) - v` with `v = x / step` there,
    and the limit, less the zero point, where it is clamped.
    """
    position = (x / step + zero_point).clamp(low, high)
    steps = position + (position.round() - position).detach()
    return (steps - zero_point) * step


def scaled_gradient(step: Tensor, factor: float) -> Tensor:
    """`step` with its gradient multiplied by `factor`."""
    return step * factor + (step * (1 - factor)).detach()


class _LearnsStep(FusedMovingAvgObsFakeQuantize):
    """Follows extremes until `start_learning`; afterwards rounds with its learned step."""

    multiple: nn.Parameter | None
    """Quotient of the step and its start, per channel for weights; None while it is not learned."""
    learned: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_parameter("multiple", None)
        self.register_buffer("learned", torch.tensor(False))

    def start_learning(self) -> None:
        """Takes step and zero point from the recorded range."""
        scale, zero_point = self.activation_post_process.calculate_qparams()
        self.scale, self.zero_point = scale.clone(), zero_point.to(torch.int).clone()
        self.multiple = nn.Parameter(torch.ones_like(self.scale))

    def stop_learning(self) -> None:
        """Keeps the learned step."""
        self.scale = self._step().detach().clone()
        self.multiple = None
        self.learned.fill_(True)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point: those learned, else of the recorded range."""
        if bool(self.learned):
            return self.scale, self.zero_point
        result: tuple[Tensor, Tensor] = super().calculate_qparams()
        return result

    def forward(self, X: Tensor) -> Tensor:
        """`X` rounded to its steps."""
        if self.multiple is None and not bool(self.learned):
            result: Tensor = super().forward(X)
            return result
        low, high = self.activation_post_process.quant_min, self.activation_post_process.quant_max
        values = X.numel() / self.scale.numel() if self.is_per_channel else X.numel()
        step = scaled_gradient(self._step(), 1 / math.sqrt(values * high))
        shape = [-1, *[1] * (X.dim() - 1)] if self.is_per_channel else [1]
        return rounded(X, step.reshape(shape), self.zero_point.reshape(shape), low, high)

    def _step(self) -> Tensor:
        if self.multiple is None:
            return self.scale
        return self.scale * self.multiple.abs().clamp_min(1e-3)


class LearnedRange(_LearnsStep):
    """Learned step of an activation."""


class LearnedWeight(_LearnsStep, TrainedWeight):
    """Learned steps of a weight, one per output channel; zero taps stay zero."""

    def forward(self, X: Tensor) -> Tensor:
        """`X` rounded to its steps, without gradients for zero taps."""
        return _LearnsStep.forward(self, self.masked(X))


LEARNED = Ranges(
    activation=int8(LearnedRange.with_args(observer=MovingAverageMinMaxObserver, averaging_constant=1.0)),
    edge=int8(LearnedRange.with_args(observer=MovingAverageMinMaxObserver, averaging_constant=1.0)),
    weight=int8(
        LearnedWeight.with_args(observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0),
        per_channel=True,
    ),
)
"""Steps learned by training; they start from the extremes of the last calibration batch."""


def start_learning(prepared: fx.GraphModule) -> int:
    """Makes the steps of a calibrated graph parameters; returns their number."""
    found = [module for module in prepared.modules() if isinstance(module, _LearnsStep)]
    for module in found:
        module.start_learning()
    return len(found)


def stop_learning(prepared: fx.GraphModule) -> None:
    """Keeps the learned steps as the scales of the graph, for `transfer` and `convert`."""
    for module in prepared.modules():
        if isinstance(module, _LearnsStep):
            module.stop_learning()

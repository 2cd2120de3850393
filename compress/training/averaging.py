"""Averages of weights, and BatchNorm statistics for weights that no training step has seen."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_WARMUP = 10
"""Steps over which the decay rises, so that the average of a short training forgets its start."""


def averaged(model: nn.Module, *, decay: float) -> AveragedModel:
    """The exponential moving average of the weights and buffers of `model`, updated by `update_parameters`.

    After `t` updates its decay is the smaller one of `decay` and (1 + t) / (10 + t), as in TensorFlow's
    `ExponentialMovingAverage`. Source: Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by
    Averaging"; Tarvainen & Valpola 2017, "Mean teachers are better role models".
    """

    def average(before: Tensor, current: Tensor, _: Tensor | int) -> Tensor:
        if not before.is_floating_point():
            return current
        updates = int(result.n_averaged)
        return before.lerp(current, 1 - min(decay, (1 + updates) / (_WARMUP + updates)))

    result = AveragedModel(model, avg_fn=average, use_buffers=True)
    return result


def re_estimate_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Replaces the statistics of every BatchNorm by the mean of those of `batches`; nothing else changes.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", section 3.2.
    """
    norms = [one for one in model.modules() if isinstance(one, _NORMS) and one.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    with torch.no_grad():
        for inputs in batches:
            model(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode

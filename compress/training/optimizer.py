"""The optimizer: parameter groups by weight decay and depth, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.features import watched
from compress.training.config import TrainConfig
from compress.training.optimizers import OPTIMIZERS
from models.spec import as_tuple


def optimizer_of(
    model: nn.Module,
    more: Iterable[nn.Parameter],
    config: TrainConfig,
    *,
    inputs: Callable[[], tuple[Tensor, ...]],
) -> torch.optim.Optimizer:
    """The optimizer for the parameters of `model` and `more`, those of its criterion.

    Kernels and matrices have weight decay, biases and norms have none (He et al. 2019, "Bag of Tricks"). `share` of
    a group is its learning rate as a share of that of the classifiers; `inputs` gives those of a batch, from
    which the depth of a layer is found.
    """
    first = config.first_layer_learning_rate
    deep = depths(model, inputs()) if first < 1 else {}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in (*more, *model.parameters()):
        if parameter.requires_grad:
            share = first ** round(deep.get(parameter, 0.0), 2)
            groups.setdefault((parameter.dim() > 1, share), []).append(parameter)
    return OPTIMIZERS[config.optimizer](
        [
            {"params": found, "weight_decay": config.weight_decay if decays else 0.0, "share": share}
            for (decays, share), found in groups.items()
        ],
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        delta=config.dot_delta,
    )


def depths(model: nn.Module, inputs: tuple[Tensor, ...]) -> Mapping[nn.Parameter, float]:
    """How far each parameter is from the logits: 0 for the classifiers, 1 for the first layer.

    Distances are numbers of operators on the longest path of the autograd graph, so they hold for any network, with
    branches and residual connections. A parameter without influence on the logits is missing; the features that a
    captured graph returns after its logits do not count.
    Graded learning rates: Howard & Ruder 2018, "Universal Language Model Fine-tuning", section 3.2.
    """
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.enable_grad(), watched(model, ()):  # a captured graph returns its logits alone
        outputs = [output.sum() for output in as_tuple(model(*inputs)) if output.requires_grad]
    for buffer, value in zip(model.buffers(), before, strict=True):  # statistics and observed ranges
        buffer.copy_(value)
    start = torch.stack(outputs).sum().grad_fn
    distance: dict[Any, int] = {start: 0}
    found: dict[nn.Parameter, float] = {}
    for node in _from_outputs(start):
        parameter = getattr(node, "variable", None)
        if parameter is not None:
            found[parameter] = distance[node]
        for before, _ in node.next_functions:
            if before is not None:
                distance[before] = max(distance.get(before, 0), distance[node] + 1)
    least, most = min(found.values()), max(found.values())
    return {parameter: (far - least) / max(1, most - least) for parameter, far in found.items()}


def _from_outputs(start: Any) -> list[Any]:
    """The nodes of an autograd graph, every one before those that it depends on."""
    finished: list[Any] = []
    seen, waiting = {start}, [(start, iter(start.next_functions))]
    while waiting:
        node, rest = waiting[-1]
        for before, _ in rest:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append((before, iter(before.next_functions)))
                break
        else:
            finished.append(node)
            waiting.pop()
    return finished[::-1]


def schedule(step: int, *, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017, SGDR)."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group, graded by its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]

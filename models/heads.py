"""Finds the classifiers of a network, for pruning, fitting and feature extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.layers import Heads
from models.spec import as_tuple


def has_heads(model: nn.Module) -> bool:
    """Whether `heads_of` finds the classifiers of the network."""
    return sum(isinstance(module, Heads) for module in model.modules()) == 1


def heads_of(model: nn.Module) -> Heads:
    """The classification heads of a network; `ValueError` if it has none, or several."""
    found = [module for module in model.modules() if isinstance(module, Heads)]
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(found)} modules `models.layers.Heads`; exactly one is needed to find "
            "its classifiers"
        )
    return found[0]


def classifiers_of(model: nn.Module) -> list[nn.Linear]:
    """The output layers, one for each label and tag column."""
    return [layer for layer in heads_of(model).classifiers if isinstance(layer, nn.Linear)]


def output_layers(model: nn.Module, inputs: Sequence[Tensor]) -> list[nn.Module]:
    """The layers with weights from which `model` computes its outputs without another such layer.

    For our own networks these are the classifiers. For others, they are found in the autograd graph of one call
    with `inputs`, so that functions after the last layer, such as a mean over frames or a softmax, do not matter.
    """
    if any(isinstance(module, Heads) for module in model.modules()):
        return list(classifiers_of(model))
    made: dict[Any, nn.Module] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        for one in as_tuple(output):
            if isinstance(one, Tensor) and one.grad_fn is not None:
                made[one.grad_fn] = module

    hooks = [
        module.register_forward_hook(note)
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
        or (list(module.parameters(recurse=False)) and not list(module.children()))
    ]
    try:
        with torch.enable_grad():
            # Also through frozen layers.
            given = [one.clone().requires_grad_() if one.is_floating_point() else one for one in inputs]
            queue = [one.grad_fn for one in as_tuple(model(*given))]
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[nn.Module, None] = {}
    seen = set()
    while queue:
        function = queue.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if function in made:
            found[made[function]] = None
        else:
            queue += [following for following, _ in function.next_functions]
    return list(found)

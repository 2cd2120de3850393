"""Finds the classifiers of a network, for pruning, fitting and feature extraction."""

from __future__ import annotations

from torch import nn

from models.layers import Heads


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

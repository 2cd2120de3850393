"""The classifiers of a network: how whoever prunes, fits or listens to a network finds them."""

from __future__ import annotations

from torch import nn

from models.layers import Heads


def heads_of(model: nn.Module) -> Heads:
    """The part of a network that classifies; `ValueError` for a network that has none, or several."""
    found = [module for module in model.modules() if isinstance(module, Heads)]
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(found)} modules `models.layers.Heads`; it takes exactly one to know "
            "which of its layers classify"
        )
    return found[0]


def classifiers_of(model: nn.Module) -> list[nn.Linear]:
    """The layers that give the logits, one for each label and tag column."""
    return [layer for layer in heads_of(model).classifiers if isinstance(layer, nn.Linear)]

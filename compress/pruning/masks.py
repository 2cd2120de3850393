"""Sparsity of single weights: masks, which recovery keeps.

Sparse weights make compressed files smaller. No CPU runtime that we export to computes them faster.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from compress.pruning.dependencies import CONVOLUTIONS

Pattern = Literal["2:4", "unstructured"]

_OF = 4
_KEPT = 2


def prunable_weights(model: nn.Module, whole: set[nn.Module]) -> dict[str, nn.Parameter]:
    """Weights of convolutions, linear and recurrent layers by name, without those of the layers `whole`."""
    found: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        if module in whole or not isinstance(module, (*CONVOLUTIONS, nn.Linear, nn.RNNBase)):
            continue
        for kind, weight in module.named_parameters(recurse=False):
            if weight.dim() > 1:
                found[f"{name}.{kind}"] = weight
    return found


def masks_of(
    weights: Mapping[str, Tensor], *, pattern: Pattern, sparsity: float, by_layer: bool
) -> dict[str, Tensor]:
    """The weights that remain, as bool masks.

    `unstructured` keeps the largest absolute values, over all layers or in each (Han et al. 2015, "Learning both
    Weights and Connections for Efficient Neural Networks", section 3). `2:4` keeps the two largest of every four
    successive weights of an output channel (Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", section
    3); what remains of a row after the last four is kept.
    """
    if pattern == "2:4":
        return {name: _two_of_four(weight) for name, weight in weights.items()}
    if by_layer:
        return {
            name: _largest(weight, weight.detach().abs().flatten(), sparsity)
            for name, weight in weights.items()
        }
    every = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    return {name: _largest(weight, every, sparsity) for name, weight in weights.items()}


def _largest(weight: Tensor, among: Tensor, sparsity: float) -> Tensor:
    count = int(sparsity * len(among))
    if not count:
        return torch.ones_like(weight, dtype=torch.bool)
    return weight.detach().abs() > among.kthvalue(count).values


def _two_of_four(weight: Tensor) -> Tensor:
    rows = weight.detach().abs().flatten(1)
    mask = torch.ones_like(rows, dtype=torch.bool)
    whole = rows.shape[1] // _OF * _OF
    fours = rows[:, :whole].unflatten(1, (-1, _OF))
    smallest = fours.argsort(dim=2, stable=True)[..., : _OF - _KEPT]
    mask[:, :whole] = torch.ones_like(fours, dtype=torch.bool).scatter(2, smallest, False).flatten(1)
    return mask.view_as(weight)


@contextmanager
def masked(weights: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Sets the other weights to zero, and keeps them there while training: their gradients are zero."""

    def keep(weight: nn.Parameter, mask: Tensor) -> torch.utils.hooks.RemovableHandle:
        with torch.no_grad():
            weight.mul_(mask)
        return weight.register_hook(lambda gradient: gradient * mask.to(gradient.device))

    hooks = [keep(weights[name], mask) for name, mask in masks.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def share_of_zeros(weights: Mapping[str, Tensor]) -> float:
    """Share of the weights that are zero."""
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    return zeros / sum(weight.numel() for weight in weights.values())


def deflated_bytes(model: nn.Module) -> int:
    """Bytes of all weights in float32, compressed with zlib's deflate as in a zip archive."""
    raw = b"".join(
        weight.detach().cpu().contiguous().numpy().tobytes() for weight in model.state_dict().values()
    )
    return len(zlib.compress(raw, 6))


def sparse_bytes(model: nn.Module) -> int:
    """Bytes of all weights in float32 as a bit mask and the values that are not zero, the sparse weights of Core ML
    (`constexpr_sparse_to_dense`)."""
    return sum(
        4 * int((weight != 0).sum()) + -(-weight.numel() // 8) for weight in model.state_dict().values()
    )

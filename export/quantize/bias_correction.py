"""Empirical bias correction: the rounded network keeps the mean of every output channel of its layers.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", appendix D.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from export.quantize.grid import Grid
from export.quantize.layers_in_order import layers_in_order


def correct_biases(
    graph: fx.GraphModule,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    grids: Mapping[str, Grid] | None = None,
) -> int:
    """Adds the mean shift of each output channel to the bias, layer by layer; returns the number of layers.

    Each layer is corrected with the corrected layers before it. Layers without a bias, such as the temporal taps of
    a depthwise 3D kernel, keep their shift, which the next bias compensates. Arguments are
    those of `layers_in_order`.
    """
    corrected = 0
    for layer in layers_in_order(graph, batches, grids=grids):
        if layer.bias is None:
            continue
        shifts = [wanted - given for wanted, given in zip(layer.wanted, layer.given, strict=True)]
        shift = torch.stack([one.movedim(layer.channels, 0).flatten(1).mean(1) for one in shifts]).mean(0)
        layer.bias.data += shift
        corrected += 1
    return corrected

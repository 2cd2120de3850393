"""Counts parameters and multiply-accumulate operations for one clip."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.spec import ClipSpec


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters; shared tensors count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, spec: ClipSpec) -> int:
    """Multiply-accumulate operations of convolutions, matrix products and attention for one clip, in eval mode.

    A copy on the meta device computes only shapes, which takes milliseconds; a network built under
    `torch.device("meta")` also takes no memory. The meta device decomposes LSTMs and fused attention into matrix
    products, which fused CPU kernels hide from the counter. Elementwise operations, normalisation and pooling are
    not counted, as usual.

    A user model that needs values, or has tensors that are neither parameters nor buffers, is run on its own
    device; the products within LSTMs are then missing.
    """
    try:
        shapes = copy.deepcopy(model)
        shapes.to("meta")  # the return values of a user's `to` and `eval` are ignored
        shapes.eval()
        return _counted(shapes, spec, device=torch.device("meta"))
    except (
        NotImplementedError,
        RuntimeError,
    ):  # raised by torch without values, and for mixed devices
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        return _counted(model, spec, device=device)


def _counted(model: nn.Module, spec: ClipSpec, *, device: torch.device) -> int:
    example = tuple(tensor.to(device) for tensor in spec.example())
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*example)
    return counter.get_total_flops() // 2

"""What a network costs: its parameters, and its multiply-accumulate operations for one clip."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.spec import ClipSpec


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes; a tensor that several layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, spec: ClipSpec) -> int:
    """Multiply-accumulate operations of convolutions, matrix products and attention for one clip, in eval mode.

    Shapes alone are computed, on a copy on the meta device, so the largest network takes milliseconds; build
    it under `torch.device("meta")` and it takes no memory either. The meta device also splits LSTMs and fused
    attention into the products they are made of, which the CPU's fused kernels hide from the counter. Elementwise
    operations, normalisation and pooling are not counted, as is usual.

    A model of a user's that needs values, or holds tensors that are neither parameters nor buffers, is run as it is
    and where it is; then the products within LSTMs are missing.
    """
    try:
        shapes = copy.deepcopy(model)
        shapes.to("meta")  # what a user's own `to` and `eval` return is their affair
        shapes.eval()
        return _counted(shapes, spec, device=torch.device("meta"))
    except (
        NotImplementedError,
        RuntimeError,
    ):  # what torch raises without values, and for a mixture of devices
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        return _counted(model, spec, device=device)


def _counted(model: nn.Module, spec: ClipSpec, *, device: torch.device) -> int:
    example = tuple(tensor.to(device) for tensor in spec.example())
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*example)
    return counter.get_total_flops() // 2

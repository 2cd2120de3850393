"""What a network costs: its parameters, and its multiply-accumulate operations for one clip."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.spec import ClipSpec


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes; a tensor that several layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, spec: ClipSpec) -> int:
    """Multiply-accumulate operations of convolutions, matrix products and attention for one clip, in eval mode.

    Shapes alone are computed, on a copy on the meta device, so the largest network takes milliseconds; build
    it under `torch.device("meta")` and it takes no memory either. The meta device also splits LSTMs and fused
    attention into the products they are made of, which the CPU's fused kernels hide from the counter. Every
    tensor of the model has to be a parameter or a buffer. Elementwise operations, normalisation and pooling
    are not counted, as is usual.
    """
    shapes = copy.deepcopy(model).to("meta").eval()
    example = tuple(torch.empty_like(tensor, device="meta") for tensor in spec.example())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(*example)
    return counter.get_total_flops() // 2

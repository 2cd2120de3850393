"""Computes Conv3d layers with the fast kernels that CPU libraries have, during training: equal results, faster.

Layers over space alone or over time alone become Conv2d: in channels-last order, frames are already a batch of
images, and each clip is an image of T rows and H*W columns, so nothing is copied. Depthwise layers get another
gradient (`compress.depthwise_conv3d`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.depthwise_conv3d import depthwise_conv3d, is_depthwise


@contextmanager
def faster_conv3d(model: nn.Module) -> Iterator[None]:
    """In this context, the 3D convolutions of `model` for which there is a faster way are computed in it."""
    changed: list[nn.Conv3d] = []
    try:
        for module in model.modules():
            if type(module) is nn.Conv3d and module.padding_mode == "zeros" and module.dilation == (1, 1, 1):
                for fits, compute in _WAYS:
                    if fits(module):
                        module.forward = partial(compute, module)  # type: ignore[method-assign]
                        changed.append(module)
                        break
        yield
    finally:
        for module in changed:
            del module.forward


def _space_alone(conv: nn.Conv3d) -> bool:
    return conv.kernel_size[0] == conv.stride[0] == 1 and conv.padding[0] == 0


def _time_alone(conv: nn.Conv3d) -> bool:
    return conv.kernel_size[1:] == conv.stride[1:] == (1, 1) and conv.padding[1:] == (0, 0)


def _as_pictures(conv: nn.Conv3d, x: Tensor) -> Tensor:
    clips, channels, frames, rows, columns = x.shape
    pictures = _channels_last(x).permute(0, 2, 1, 3, 4).reshape(clips * frames, channels, rows, columns)
    kernel = conv.weight.squeeze(2).contiguous(memory_format=torch.channels_last)
    y = F.conv2d(pictures, kernel, conv.bias, conv.stride[1:], conv.padding[1:], 1, conv.groups)  # type: ignore[arg-type]
    return y.unflatten(0, (clips, frames)).transpose(1, 2)


def _as_planes(conv: nn.Conv3d, x: Tensor) -> Tensor:
    kernel = conv.weight.squeeze(4).contiguous(memory_format=torch.channels_last)
    stride, padding = (conv.stride[0], 1), (conv.padding[0], 0)
    y = F.conv2d(_channels_last(x).flatten(3), kernel, conv.bias, stride, padding, 1, conv.groups)  # type: ignore[arg-type]
    return y.unflatten(3, x.shape[3:])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


_WAYS = (
    (_space_alone, _as_pictures),
    (_time_alone, _as_planes),
    (is_depthwise, depthwise_conv3d),
)
"""Which layers are computed in which way; the first that fits is taken."""

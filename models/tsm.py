"""TSM: MobileNetV2 on single frames that exchanges part of the channels between neighbouring frames.

Source: Lin, Gan, Han 2019, "TSM: Temporal Shift Module for Efficient Video Understanding": residual shift (section
3.3) of an eighth of the channels each way in front of the first layer of every inverted residual that has a
shortcut; the online form (section 4.2) takes an eighth from the frame before alone, and can stream. Frames are
averaged in front of the classifiers, which equals averaging their logits. Blocks as in Sandler et al.
2018, "MobileNetV2", table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import conv_bn, conv_bn_relu6
from models.mobilenet3d import MOBILENET_V2, TINY, Blocks, MobileNet3dOptions
from models.spec import ClipSpec
from models.streaming import Memory, shifted
from models.streaming_mobilenet import StreamingMobileNet

_PARTS = 8
"""Inverse share of channels shifted in each direction."""


class Shift(nn.Module):
    """Shifts an eighth of the channels by one frame forwards, and unless `online` another eighth backwards."""

    def __init__(self, *, online: bool) -> None:
        super().__init__()
        self.online = online

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` with some channels shifted in time."""
        if memory.is_stream and not self.online:
            raise ValueError(
                "this TSM shifts in both directions and needs the next frame; tsm_online can stream"
            )
        part = max(1, x.shape[1] // _PARTS)
        parts = [memory.delayed(x[:, :part])]
        if not self.online:
            following = functional.pad(x[:, part : 2 * part], (0, 0, 0, 0, 0, 1))
            parts.append(shifted(following, later=False))
        return torch.cat([*parts, x[:, part * len(parts) :]], 1)


class _Residual(nn.Module):
    """Expansion, depthwise 3x3, linear projection, of single frames; blocks with a shortcut start with a shift."""

    def __init__(self, before: int, after: int, *, expand: int, stride: int, online: bool) -> None:
        super().__init__()
        hidden = before * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(conv_bn_relu6(before, hidden, kernel=(1, 1, 1)))
        strides = (1, stride, stride)
        layers.append(conv_bn_relu6(hidden, hidden, kernel=(1, 3, 3), stride=strides, groups=hidden))
        self.layers = nn.Sequential(*layers)
        self.project = conv_bn(hidden, after, kernel=(1, 1, 1))
        self.shift = Shift(online=online) if stride == 1 and before == after else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C' T H' W'`."""
        if self.shift is None:
            return self.project(self.layers(x))
        return x + self.project(self.layers(self.shift(x, memory)))


class Tsm(StreamingMobileNet):
    """Clip `N 3 T H W` -> logits `N K` per label column; also for streams if `online`."""

    def __init__(
        self,
        spec: ClipSpec,
        *,
        blocks: Sequence[Blocks],
        stem: int,
        head: int,
        online: bool,
        options: MobileNet3dOptions,
    ) -> None:
        residual = partial(_Residual, online=online)
        super().__init__(
            spec, network="TSM", blocks=blocks, stem=stem, head=head, residual=residual, options=options
        )

    def layers_left_whole(self) -> list[nn.Module]:
        """Layers that must not be pruned, because shifts split their channels by index."""
        return [self.stem[0], *(cast(_Residual, block).project[0] for block in self.blocks)]


def tsm(spec: ClipSpec, options: MobileNet3dOptions) -> Tsm:
    """TSM-MobileNetV2, published for 8 frames of 224 x 224; shifts in both directions, for whole clips."""
    return Tsm(spec, blocks=MOBILENET_V2, stem=32, head=1280, online=False, options=options)


def tsm_online(spec: ClipSpec, options: MobileNet3dOptions) -> Tsm:
    """TSM with shifts from the previous frame only, for streams."""
    return Tsm(spec, blocks=MOBILENET_V2, stem=32, head=1280, online=True, options=options)


def tsm_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> Tsm:
    """Two short stages of the online form, for tests: trains in seconds."""
    return Tsm(spec, blocks=TINY, stem=8, head=48, online=True, options=options)

"""MoViNets as MoViNet-pytorch publishes them: names and shapes of their tensors, and what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.checkpoints.published import Published, Shapes, norm

F15, F13, F33, F53 = (1, 5), (1, 3), (3, 3), (5, 3)
"""Frames and pixels of a kernel."""
STAGES = {
    "a0": (
        (8, 2, ((F15, 24),)),
        (32, 2, ((F33, 80), (F33, 80), (F33, 80))),
        (56, 2, ((F53, 184), (F33, 112), (F33, 184))),
        (56, 1, ((F53, 184), (F33, 184), (F33, 184), (F33, 184))),
        (104, 2, ((F53, 384), (F15, 280), (F15, 280), (F15, 344))),
    ),
    "a1": (
        (16, 2, ((F15, 40), (F33, 40))),
        (40, 2, ((F33, 96), (F33, 120), (F33, 96), (F33, 96))),
        (64, 2, ((F53, 216), (F33, 128), (F33, 216), (F33, 168), (F33, 216))),
        (64, 1, ((F53, 216), (F33, 216), (F33, 216), (F33, 128), (F15, 128), (F33, 216))),
        (136, 2, ((F53, 456), (F15, 360), (F15, 360), (F15, 360), (F15, 456), (F33, 456), (F13, 544))),
    ),
    "a2": (
        (16, 2, ((F15, 40), (F33, 40), (F33, 64))),
        (40, 2, ((F33, 96), (F33, 120), (F33, 96), (F33, 96), (F33, 120))),
        (72, 2, ((F53, 240), (F33, 160), (F33, 240), (F33, 192), (F33, 240))),
        (72, 1, ((F53, 240), (F33, 240), (F33, 240), (F33, 240), (F15, 144), (F33, 240))),
        (144, 2, ((F53, 480), (F15, 384), (F15, 384), (F15, 480), (F15, 480), (F33, 480), (F13, 576))),
    ),
}
"""Channels, stride of the first block, kernel and inner channels of every block: movinets/config.py."""
ENDS = {"a0": (8, 480), "a1": (16, 600), "a2": (16, 640)}
"""Channels of the stem and of the last convolution."""


class Block(NamedTuple):
    name: str
    before: int
    after: int
    inner: int
    kernel: tuple[int, int]
    stride: int


def blocks(size: str) -> Iterator[Block]:
    before = ENDS[size][0]
    for stage, (after, stride, rows) in enumerate(STAGES[size]):
        for number, (kernel, inner) in enumerate(rows):
            name = f"blocks.b{stage}_l{number}"
            yield Block(name, before, after, inner, kernel, stride if number == 0 else 1)
            before = after


def hidden_channels(channels: int, *, stream: bool) -> int:
    wanted = channels // 4 * (2 if stream else 1)
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def movinet(size: str, *, stream: bool) -> Shapes:
    conv = "conv2d" if stream else "conv3d"

    def unit(name: str, shape: tuple[int, ...]) -> Shapes:
        """A convolution of frames and its BatchNorm; in streams 2D."""
        yield f"{name}.{conv}.weight", shape[:2] + (shape[3:] if stream else shape[2:])
        yield from norm(f"{name}.norm", shape[0])

    def dense(name: str, after: int, before: int) -> Shapes:
        yield f"{name}.conv_1.{conv}.weight", (after, before, *((1, 1) if stream else (1, 1, 1)))
        yield f"{name}.conv_1.{conv}.bias", (after,)

    stem, head = ENDS[size]
    yield from unit("conv1.conv_1", (stem, 3, 1, 3, 3))
    for name, before, after, inner, (frames, pixels), stride in blocks(size):
        yield f"{name}.alpha", ()
        yield from unit(f"{name}.expand.conv_1", (inner, before, 1, 1, 1))
        yield from unit(f"{name}.deep.conv_1", (inner, 1, 1 if stream else frames, pixels, pixels))
        if stream and frames > 1:
            yield f"{name}.deep.conv_2.conv2d.weight", (inner, 1, frames, 1)
            yield from norm(f"{name}.deep.conv_2.norm", inner)
        hidden = hidden_channels(inner, stream=stream)
        yield from dense(f"{name}.se.fc1", hidden, 2 * inner if stream else inner)
        yield from dense(f"{name}.se.fc2", inner, hidden)
        yield from unit(f"{name}.project.conv_1", (after, inner, 1, 1, 1))
        if stride > 1 or before != after:
            yield from unit(f"{name}.res.{1 if stride > 1 else 0}.conv_1", (after, before, 1, 1, 1))
    yield from unit("conv7.conv_1", (head, after, 1, 1, 1))
    yield from dense("classifier.0", 2048, head)
    yield from dense("classifier.3", 600, 2048)


def movinet_features(weights: Mapping[str, Tensor], clip: Tensor, *, size: str, stream: bool) -> Tensor:
    """The inputs of the last layer, `N 2048`, with the padding and pooling of TensorFlow (`tf_like`)."""
    net = Published(weights, eps=1e-3)
    swish = F.hardswish if stream else F.silu

    def same(x: Tensor, kernel: int, stride: int) -> Tensor:
        total = [
            max(kernel - stride, 0) if extent % stride == 0 else max(kernel - extent % stride, 0)
            for extent in (x.shape[4], x.shape[3])
        ]
        return F.pad(x, [part for all_ in total for part in (all_ // 2, all_ - all_ // 2)])

    def unit(name: str, x: Tensor, *, kernel=(1, 1), stride: int = 1, groups: int = 1) -> Tensor:
        frames, pixels = kernel
        x = same(x, pixels, stride)
        if not stream:
            strides, padding = (1, stride, stride), (frames // 2, 0, 0)
            x = net.conv(f"{name}.conv3d", x, stride=strides, padding=padding, groups=groups)
        else:
            pictures = x.transpose(1, 2)
            y = net.conv(f"{name}.conv2d", pictures.flatten(0, 1), stride=stride, groups=groups)
            x = y.unflatten(0, pictures.shape[:2]).transpose(1, 2)
        return net.norm(f"{name}.norm", x)

    def dense(name: str, x: Tensor) -> Tensor:
        weight, bias = (
            weights[f"{name}.conv_1.{'conv2d' if stream else 'conv3d'}.{k}"] for k in ("weight", "bias")
        )
        return torch.einsum("oc,nc...->no...", weight.flatten(1), x) + bias.view(1, -1, *[1] * (x.dim() - 2))

    def so_far(means: Tensor) -> Tensor:
        counts = torch.arange(1, means.shape[2] + 1, dtype=means.dtype).view(1, 1, -1, 1, 1)
        return means.cumsum(2) / counts

    def pooled(x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            return F.avg_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1), count_include_pad=False)
        x = F.avg_pool3d(F.pad(x, (0, 1, 0, 1)), (1, 3, 3), (1, 2, 2))
        x[..., -1] *= 9 / 6
        x[..., -1, :] *= 9 / 6
        return x

    x = swish(unit("conv1.conv_1", clip, kernel=(1, 3), stride=2))
    for name, before, after, inner, (frames, pixels), stride in blocks(size):
        y = swish(unit(f"{name}.expand.conv_1", x))
        kernel = (1, pixels) if stream else (frames, pixels)
        y = swish(unit(f"{name}.deep.conv_1", y, kernel=kernel, stride=stride, groups=inner))
        if stream and frames > 1:
            planes = F.pad(y, (0, 0, 0, 0, frames - 1, 0)).flatten(3)
            planes = net.conv(f"{name}.deep.conv_2.conv2d", planes, groups=inner)
            y = swish(net.norm(f"{name}.deep.conv_2.norm", planes.unflatten(3, y.shape[3:])))
        means = y.mean((3, 4), keepdim=True)
        seen = torch.cat([so_far(means), means], 1) if stream else means.mean(2, keepdim=True)
        gate = dense(f"{name}.se.fc2", swish(dense(f"{name}.se.fc1", seen)))
        y = y * ((0.2 * gate + 0.5).clamp(0, 1) if stream else gate.sigmoid())
        y = unit(f"{name}.project.conv_1", y)
        if stride > 1:
            x = pooled(x)
        if stride > 1 or before != after:
            x = unit(f"{name}.res.{1 if stride > 1 else 0}.conv_1", x)
        x = x + weights[f"{name}.alpha"] * y
    x = swish(unit("conv7.conv_1", x)).mean((2, 3, 4))
    return F.silu(dense("classifier.0", x))

"""Conv3d as Conv2d: over frames in space, over the plane (T, H*W) in time.

- kernel (1, k, k) or pointwise: one Conv2d.
- kernel (k, 1, 1): one Conv2d (k, 1) over the plane; its implicit padding is the temporal padding.
- dense k x k x k: the input frames of all taps are gathered as channels, then one Conv2d over kT * C channels.
- grouped or depthwise k x k x k: one Conv2d per tap, and the sum of their results, each shifted in time. If the
  depthwise kernels are of lower rank, fewer pairs of a spatial and a temporal convolution are equivalent.

Frames are shifted in time by a depthwise Conv2d (k, 1) with one-hot taps: a copy, except for rounding. Its implicit
padding gives the zeros, and integer arithmetic reproduces it exactly if both sides share one scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.axis import Axis, triple
from export.lower.lowering import Lowering
from export.lower.source import bind, refuse
from export.lower.volume import Form, Padded, Volume
from export.lower.writer import Writer

aten = torch.ops.aten

FEW_CHANNELS = 4
"""Channels up to which one dense convolution gathers the taps of all channels, instead of a depthwise one per
tap."""

NEGLIGIBLE = 1e-6
"""Singular values below this share of the largest do not count towards the rank of a kernel."""


def convolution(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Rule for conv3d."""
    x, weight = args["input"], args["weight"]
    if not isinstance(weight, Tensor) or not isinstance(args["bias"], Tensor | None):
        raise refuse(
            node, "its weight is computed from an input", "use a weight that does not depend on the input"
        )
    bias = args["bias"]
    axes = _axes(args)
    if isinstance(x, Padded) and x.is_zeros:
        axes = tuple(  # type: ignore[assignment]
            replace(axis, before=axis.before + before, after=axis.after + after)
            for axis, (before, after) in zip(axes, x.around, strict=True)
        )
        x = x.inner
    weight, time = axes[0].trimmed(weight, 2, x.shape[2])
    axes = (time, *axes[1:])
    groups, name, writer = args["groups"], node.name, lowering.writer
    out_shape = (
        x.shape[0],
        weight.shape[0],
        *(a.outputs(size) for a, size in zip(axes, x.shape[2:], strict=True)),
    )
    time, rows, columns = axes
    layer = _Layer(writer, name, x, weight, bias, groups, time, rows, columns, out_shape)
    if time.is_pointwise:
        if rows.is_pointwise and columns.is_pointwise:
            return layer.pointwise(lowering.wanted(node))
        return layer.spatial()
    if rows.is_pointwise and columns.is_pointwise:
        return layer.temporal()
    if groups == 1:
        return layer.gathered()
    return layer.summed()


def demand(node: fx.Node) -> Form | None:
    """The form in which a consumer takes its input, None where it has no preference."""
    if node.target in (aten.conv3d.default, aten.conv3d.padding):
        args = bind(node, node.args, node.kwargs)
        args["weight"] = args["weight"].meta["val"]
        time, rows, columns = _axes(args)
        flat = rows.is_pointwise and columns.is_pointwise
        if time.is_pointwise:
            return None if flat else "frames"
        return "plane" if flat or args["groups"] == 1 else "frames"
    if node.target in (aten.max_pool3d.default, aten.avg_pool3d.default):
        return "frames"
    if node.target in (aten.mean.dim, aten.view.default):
        return "plane"
    return None


def _axes(args: dict[str, Any]) -> tuple[Axis, Axis, Axis]:
    kernel, stride, dilation = args["weight"].shape[2:], triple(args["stride"]), triple(args["dilation"])
    padding = args["padding"]
    if isinstance(padding, str):
        total = (
            [0, 0, 0] if padding == "valid" else [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        )
        around = [(t // 2, t - t // 2) for t in total]
    else:
        around = [(p, p) for p in triple(padding)]
    t, h, w = (
        Axis(kernel=k, stride=s, dilation=d, before=b, after=a)
        for k, s, d, (b, a) in zip(kernel, stride, dilation, around, strict=True)
    )
    return t, h, w


class _Layer:
    """One Conv3d to be written: its input, weights `O I kT kH kW` and axes."""

    def __init__(
        self,
        writer: Writer,
        name: str,
        x: Volume,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        time: Axis,
        rows: Axis,
        columns: Axis,
        out_shape: tuple[int, ...],
    ) -> None:
        self.writer, self.name, self.x, self.weight, self.bias, self.groups = (
            writer,
            name,
            x,
            weight,
            bias,
            groups,
        )
        self.time, self.rows, self.columns, self.out_shape = time, rows, columns, out_shape

    def pointwise(self, wanted: Form | None) -> Volume:
        """1x1x1: in the available form; a change of form happens on the side with fewer channels."""
        form: Form = self.x.forms[0]
        if wanted is not None and (wanted in self.x.forms or self.x.shape[1] <= self.out_shape[1]):
            form = wanted
        y = self._conv2d(self.x[form], self.weight[:, :, 0], self.bias, (self.rows, self.columns))
        return self.x.in_form(form, y, self.out_shape)

    def spatial(self) -> Volume:
        """(1, k, k)."""
        y = self._conv2d(self.x["frames"], self.weight[:, :, 0], self.bias, (self.rows, self.columns))
        return self.x.in_form("frames", y, self.out_shape)

    def temporal(self) -> Volume:
        """(k, 1, 1)."""
        y = self._conv2d(self.x["plane"], self.weight[:, :, :, 0], self.bias, (self.time, Axis(kernel=1)))
        return self.x.in_form("plane", y, self.out_shape)

    def gathered(self) -> Volume:
        """Dense k x k x k: frames of all taps as channels, then one Conv2d."""
        n, channels, frames, h, w = self.x.shape
        taps = self.time.useful_taps(frames)
        moved_shape = (n, channels, self.out_shape[2], h, w)
        if channels <= FEW_CHANNELS:
            everything = torch.zeros(len(taps) * channels, channels, self.time.kernel, 1)
            for index, tap in enumerate(taps):
                for channel in range(channels):
                    everything[index * channels + channel, channel, tap] = 1
            gathered = _conv2d(
                self.writer,
                self.x["plane"],
                everything,
                None,
                (self.time, Axis(kernel=1)),
                name=f"{self.name}_taps",
                trainable=False,
            )
            volume = self.x.in_form("plane", gathered, (n, len(taps) * channels, *moved_shape[2:]))
            joined = volume["frames"]
        else:
            parts = [self._moved(self.x, tap)["frames"] for tap in taps]
            joined = parts[0]
            if len(parts) > 1:
                joined = self.writer.call(aten.cat.default, (parts, 1), name=f"{self.name}_taps")
        weight = torch.cat([self.weight[:, :, tap] for tap in taps], 1)
        y = self._conv2d(joined, weight, self.bias, (self.rows, self.columns))
        return self.x.in_form("frames", y, self.out_shape)

    def summed(self) -> Volume:
        """Grouped or depthwise k x k x k: one Conv2d per tap and the sum of their results."""
        frames = self.x.shape[2]
        taps = self.time.useful_taps(frames)
        if self.weight.shape[1] == 1 and self.time.stride == 1:
            pairs = _separable_pairs(self.weight[:, 0])
            if len(pairs) < len(taps):
                return self._separated(pairs)
        # A bias would be missing in frames shifted in from the padding.
        still = next((tap for tap in taps if self.time.reads_data_alone(tap, frames)), None)
        # Taps that read padding come first: a term added to their zero frames keeps its scale in int8.
        order = sorted(taps, key=lambda tap: (self.time.reads_data_alone(tap, frames), tap == still))
        if self._moving_first_is_cheaper(taps):
            parts = []
            for tap in order:
                x = self._moved(self.x, tap)["frames"]
                bias = self.bias if tap == order[-1] else None
                parts.append(self._tap(x, tap, bias))
            return self.x.in_form("frames", self._sum(parts), self.out_shape)
        between = (*self.out_shape[:2], frames, *self.out_shape[3:])
        parts = []
        for tap in order:
            y = self._tap(self.x["frames"], tap, self.bias if tap == still else None)
            late = self.bias if still is None and tap == order[-1] else None
            parts.append(self._moved(self.x.in_form("frames", y, between), tap, late)["plane"])
        return self.x.in_form("plane", self._sum(parts), self.out_shape)

    def _separated(self, pairs: list[tuple[Tensor, Tensor]]) -> Volume:
        """Depthwise kernels as a sum of `pairs` (temporal C kT, spatial C kH kW)."""
        between = (*self.out_shape[:2], self.x.shape[2], *self.out_shape[3:])
        parts = []
        for index, (temporal, spatial) in enumerate(pairs):
            y = self._conv2d(
                self.x["frames"], spatial[:, None], None, (self.rows, self.columns), suffix=f"_space{index}"
            )
            plane = self.x.in_form("frames", y, between)["plane"]
            bias = self.bias if index == 0 else None
            kernel = temporal[:, None, :, None]
            axes = (self.time, Axis(kernel=1))
            # One group per output channel: an input channel may have several.
            parts.append(self._conv2d(plane, kernel, bias, axes, groups=len(kernel), suffix=f"_time{index}"))
        return self.x.in_form("plane", self._sum(parts), self.out_shape)

    def _moving_first_is_cheaper(self, taps: list[int]) -> bool:
        """Whether shifting frames before the spatial convolution takes fewer multiplications than after it."""
        _, channels_in, frames, h, w = self.x.shape
        _, channels_out, frames_out, h_out, w_out = self.out_shape
        moves = sum(not self.time.is_identity(tap, frames) for tap in taps) * self.time.kernel
        space = len(taps) * self.weight.shape[1] * self.rows.kernel * self.columns.kernel * channels_out
        first = moves * channels_in * frames_out * h * w + space * frames_out * h_out * w_out
        last = moves * channels_out * frames_out * h_out * w_out + space * frames * h_out * w_out
        return first < last

    def _tap(self, x: fx.Node, tap: int, bias: Tensor | None) -> fx.Node:
        return self._conv2d(x, self.weight[:, :, tap], bias, (self.rows, self.columns), suffix=f"_tap{tap}")

    def _moved(self, x: Volume, tap: int, bias: Tensor | None = None) -> Volume:
        """The frames of `x` that `tap` reads, one per output frame; zeros where it reads padding."""
        n, channels, frames, h, w = x.shape
        if self.time.is_identity(tap, frames):
            assert bias is None
            return x
        one_hot = torch.zeros(channels, 1, self.time.kernel, 1)
        one_hot[:, :, tap] = 1
        y = _conv2d(
            self.writer,
            x["plane"],
            one_hot,
            bias,
            (self.time, Axis(kernel=1)),
            groups=channels,
            name=f"{self.name}_move{tap}",
            trainable=False,
        )
        return x.in_form("plane", y, (n, channels, self.out_shape[2], h, w))

    def _sum(self, parts: list[fx.Node]) -> fx.Node:
        total = parts[0]
        for index, part in enumerate(parts[1:], 1):
            total = self.writer.call(aten.add.Tensor, (total, part), name=f"{self.name}_sum{index}")
        return total

    def _conv2d(
        self,
        x: fx.Node,
        weight: Tensor,
        bias: Tensor | None,
        axes: tuple[Axis, Axis],
        *,
        groups: int | None = None,
        suffix: str = "",
    ) -> fx.Node:
        return _conv2d(
            self.writer,
            x,
            weight,
            bias,
            axes,
            groups=groups or self.groups,
            name=f"{self.name}{suffix}",
            trainable=True,
        )


def _conv2d(
    writer: Writer,
    x: fx.Node,
    weight: Tensor,
    bias: Tensor | None,
    axes: tuple[Axis, Axis],
    *,
    name: str,
    trainable: bool,
    groups: int = 1,
) -> fx.Node:
    """Writes one Conv2d; unequal padding becomes equal padding and zero taps."""
    weight, rows = axes[0].symmetric(weight, 2)
    weight, columns = axes[1].symmetric(weight, 3)
    store = writer.weight if trainable else writer.constant
    weight_node = store(weight.contiguous(), name=f"{name}_weight")
    bias_node = None if bias is None else writer.weight(bias, name=f"{name}_bias")
    geometry = [
        [rows.stride, columns.stride],
        [rows.before, columns.before],
        [rows.dilation, columns.dilation],
    ]
    return writer.call(aten.conv2d.default, (x, weight_node, bias_node, *geometry, groups), name=name)


def _separable_pairs(weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The fewest pairs (temporal `C kT`, spatial `C kH kW`) whose products add up to `weight` `C kT kH kW`.

    Singular value decomposition of each channel's kT x (kH * kW) matrix; the number of pairs is the largest rank.
    """
    channels, taps, rows, columns = weight.shape
    u, s, v = torch.linalg.svd(
        weight.detach().double().reshape(channels, taps, rows * columns), full_matrices=False
    )
    largest = s.max(dim=1, keepdim=True).values.clamp_min(torch.finfo(torch.float64).tiny)
    rank = max(1, int((s > NEGLIGIBLE * largest).sum(1).max()))
    pairs = []
    for index in range(rank):
        root = s[:, index].sqrt()
        temporal = (u[:, :, index] * root[:, None]).to(weight.dtype)
        spatial = (v[:, index] * root[:, None]).reshape(channels, rows, columns).to(weight.dtype)
        pairs.append((temporal, spatial))
    return pairs

"""Observers that find the ranges of int8 values in calibration, and fake quantization for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from export.quantize.grid import scale_of_least_error
from export.quantize.ranges.histogram import BINS, Histogram, Limits, added
from export.quantize.ranges.least_error import least_error

SAMPLE = 1 << 16
"""Maximum number of values of one tensor in a histogram update."""


class HistogramRange(MinMaxObserver):
    """The limits that a range method finds in the histogram of every n-th value of large tensors."""

    counts: Tensor
    width: Tensor
    min_val: Tensor
    max_val: Tensor

    def __init__(self, *, search: Callable[[Histogram], Limits], **options: Any) -> None:
        super().__init__(**options)
        self._search = search
        self.register_buffer("counts", torch.zeros(2 * BINS))
        self.register_buffer("width", torch.zeros((), dtype=torch.float64))

    def forward(self, x_orig: Tensor) -> Tensor:
        """Records up to `SAMPLE` values of `x_orig`, evenly spaced, and its extremes; returns `x_orig`."""
        super().forward(x_orig)
        values = x_orig.detach().flatten()
        step = values.numel() // SAMPLE
        # An odd step does not align with rows and channels, which usually have even lengths.
        counts, width = added(self.counts, float(self.width), values[:: step | 1] if step > 1 else values)
        self.counts.copy_(counts)
        self.width.fill_(width)
        return x_orig

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point of the limits."""
        seen = self.min_val, self.max_val
        low, high = map(float, seen)
        if low < high:
            found = Histogram(counts=self.counts, width=float(self.width), low=low, high=high)
            self.min_val, self.max_val = map(torch.tensor, self._search(found))
        try:
            scale, zero_point = super().calculate_qparams()
        finally:
            self.min_val, self.max_val = seen
        return scale, zero_point


class LeastErrorWeight(PerChannelMinMaxObserver):
    """The symmetric range of each output channel (axis 0) with the least squared rounding error."""

    def forward(self, x_orig: Tensor) -> Tensor:
        """Records the ranges for the weight `x_orig`, and returns it."""
        limit = scale_of_least_error(x_orig.detach(), limit=self.quant_max) * self.quant_max
        self.min_val, self.max_val = -limit, limit
        return x_orig


class _Rounding(torch.autograd.Function):
    """Rounds to int8 steps and back; gradients pass where nothing was clamped (straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, zero_point: int, low: int, high: int) -> Tensor:
        steps = torch.mul(x, 1 / scale).round_()
        clamped = steps.clamp(low - zero_point, high - zero_point)
        ctx.save_for_backward(steps == clamped)
        return clamped.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


def _follows(one: FusedMovingAvgObsFakeQuantize, X: Tensor) -> bool:
    """Updates the range by `X` while the observer is on, and returns whether values are rounded."""
    observer = one.activation_post_process
    rounds = bool(one.fake_quant_enabled.item())
    if one.observer_enabled.item() and (torch.is_grad_enabled() or not rounds):
        observer(X.detach())
        one.scale, one.zero_point = observer.calculate_qparams()
    return rounds


class TrainedRange(FusedMovingAvgObsFakeQuantize):
    """Fake quantization per tensor, several times faster on a CPU than PyTorch's operator."""

    def forward(self, X: Tensor) -> Tensor:
        """`X` rounded to int8 steps; while the observer is on, the range follows the extremes of `X`.

        Evaluation (rounding without gradients) does not change the range.
        """
        if not _follows(self, X):
            return X
        observer = self.activation_post_process
        limits = observer.quant_min, observer.quant_max
        return _Rounding.apply(X, self.scale.item(), int(self.zero_point.item()), *limits)


class TrainedWeight(FusedMovingAvgObsFakeQuantize):
    """Fake quantization of weights, with the scales of the int8 reference; zero weights stay zero.

    PyTorch's fused operator divides the least weight by 128 and the largest by 127, where its conversion divides
    both by 127: many weights would be rounded to another integer than in training.

    Lowering pads kernels with zero taps (uneven padding, phases of a transposed convolution). If these were
    trained, a causal network would use future frames. A channel of zeros is trained: it is a zero-initialised
    layer.
    """

    _taps: Tensor | None
    """1 where a weight may change, 0 where it stays zero."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("_taps", None, persistent=False)  # moves with the network

    def forward(self, X: Tensor) -> Tensor:
        """`X` rounded to int8 steps, without gradients for zero taps; ranges as in `TrainedRange`."""
        X = self.masked(X)
        if not _follows(self, X):
            return X
        limits = self.activation_post_process.quant_min, self.activation_post_process.quant_max
        zero_point = self.zero_point.to(torch.int32)
        return torch.fake_quantize_per_channel_affine(X, self.scale, zero_point, self.ch_axis, *limits)

    def masked(self, X: Tensor) -> Tensor:
        """`X` with zero taps as constants; which taps are zero is found in the first call."""
        if self._taps is None:
            zero = (X == 0) & X.flatten(1).any(1).reshape(-1, *[1] * (X.dim() - 1))
            self._taps = (~zero).to(X.dtype)
        return X * self._taps


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Observers of ranges: `activation` inside the network, `edge` at its inputs and outputs, and `weight`."""

    activation: QuantizationSpec
    edge: QuantizationSpec
    weight: QuantizationSpec
    dense: QuantizationSpec | None = None
    """Weights of layers that are not depthwise; None if as `weight`."""

    def with_weights_of(self, bits: int) -> Ranges:
        """The same with weights of so many bits, a row of `WEIGHT_LIMITS`.

        Depthwise weights keep 8 bits: the kernels in question widen them first.
        """
        if bits == 8:
            return self
        limit = WEIGHT_LIMITS[bits]
        return replace(self, dense=replace(self.weight, quant_min=-limit, quant_max=limit))


def weight_bits_note(bits: int) -> tuple[str, ...]:
    """The note on a network whose weights do not have 8 bits."""
    return () if bits == 8 else (f"weights in {bits} bits, except for those of depthwise layers",)


WEIGHT_LIMITS = {8: 127, 7: 64}
"""Largest integer weight by bits. With 64, two products with uint8 activations fit 16 bits: 2 * 255 * 64 is
32,640."""


def int8(observer: Any, *, per_channel: bool = False) -> QuantizationSpec:
    """The spec of an int8 value: affine per tensor, or symmetric per output channel for weights."""
    if per_channel:
        return QuantizationSpec(
            dtype=torch.int8,
            quant_min=-WEIGHT_LIMITS[8],
            quant_max=WEIGHT_LIMITS[8],
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            observer_or_fake_quant_ctr=observer,
        )
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=observer,
    )


WEIGHT_RANGES: dict[str, Any] = {"minmax": PerChannelMinMaxObserver, "mse": LeastErrorWeight}
"""Observers of weights for post-training quantization, by name."""


def calibrated(search: Callable[[Histogram], Limits] = least_error, *, weights: str = "minmax") -> Ranges:
    """Post-training: ranges of activations by `search` on the calibration clips, edges by their extremes."""
    return Ranges(
        activation=int8(HistogramRange.with_args(search=search)),
        edge=int8(MinMaxObserver),
        weight=int8(WEIGHT_RANGES[weights], per_channel=True),
    )


CALIBRATED = calibrated()
"""Post-training: ranges of activations with the least squared error on the calibration clips."""

FOLLOW = 0.1
"""Momentum of a trained range towards the extremes of each batch; at 0.01 it lags behind the weights."""

TRAINED = Ranges(
    activation=int8(TrainedRange.with_args(observer=MovingAverageMinMaxObserver, averaging_constant=FOLLOW)),
    edge=int8(TrainedRange.with_args(observer=MovingAverageMinMaxObserver, averaging_constant=FOLLOW)),
    weight=int8(
        TrainedWeight.with_args(observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0),
        per_channel=True,
    ),
)
"""Quantization-aware training: fake quantization with moving averages of the extremes, weights with current
ones."""

"""Cross-layer equalization: scales the channels between two layers so that both have equal weight ranges.

It is exact for functions that scale with their input, `f(s x) = s f(x)` for s > 0: ReLU and pooling, but not ReLU6,
hard-swish or SiLU. Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.capture.graph import capture

aten = torch.ops.aten

_CONVOLUTIONS = (
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
)
_LINEAR = (aten.linear.default,)
_SCALE_WITH_INPUT = (
    aten.relu.default,
    aten.relu_.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
)
_MOST_ROUNDS = 20
"""Chains of layers are equalized in rounds, each of which moves ranges by one layer."""

_CLOSE = 1e-3
"""Rounds end when no channel is scaled by more than this."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two layers with only such functions between them, and the BatchNorm after the first, if there is one."""

    first: nn.Parameter
    """Weight with its output channels first."""
    shifts: tuple[nn.Parameter, ...]
    """What scales with the output: the bias of the layer or of its BatchNorm."""
    gain: nn.Parameter | None
    """Weight of the BatchNorm."""
    deviation: Tensor | None
    """Standard deviation by which the BatchNorm divides."""
    second: nn.Parameter
    groups: int
    """Groups of the second layer."""

    def factors(self) -> Tensor:
        """What each channel is divided by: the root of the quotient of both ranges, 1 where a range is zero."""
        before = self.first.flatten(1).abs().amax(1)
        if self.gain is not None and self.deviation is not None:
            before = before * self.gain.abs() / self.deviation
        after = self._by_input().abs().amax((1, 3)).flatten()
        return torch.where((before > 0) & (after > 0), (before / after).sqrt(), 1.0)

    def scale(self, factors: Tensor) -> None:
        """Divides the output channels of the first layer, and multiplies the input channels of the second."""
        if self.gain is None:
            self.first.div_(factors.reshape(-1, *[1] * (self.first.dim() - 1)))
        else:
            self.gain.div_(factors)
        for shift in self.shifts:
            shift.div_(factors)
        self._by_input().mul_(factors.reshape(self.groups, 1, -1, 1))

    def _by_input(self) -> Tensor:
        """The second weight as groups, outputs of a group, inputs of a group, kernel; a view."""
        weight = self.second
        return weight.view(self.groups, len(weight) // self.groups, weight.shape[1], -1)


@torch.no_grad()
def equalize(model: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Equalizes the weights of `model` in place, and returns the number of pairs of layers; outputs stay the same.

    Weights that several layers share, and layers whose output is used twice (residuals), are left as they are.
    """
    pairs = list(_pairs(model, capture(model, example)))
    for _ in range(_MOST_ROUNDS):
        largest = 0.0
        for pair in pairs:
            factors = pair.factors()
            pair.scale(factors)
            largest = max(largest, float(factors.log().abs().max()))
        if largest < _CLOSE:
            break
    return len(pairs)


def _pairs(model: nn.Module, program: ExportedProgram) -> Iterator[_Pair]:
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    times = Counter(id(one) for _, one in model.named_parameters(remove_duplicate=False))

    def stored(node: Any) -> Any:
        """The parameter or buffer of a node; None if it is computed, or used elsewhere too."""
        if not isinstance(node, fx.Node) or node.name not in names or len(node.users) > 1:
            return None
        owner, _, name = names[node.name].rpartition(".")
        found = getattr(model.get_submodule(owner), name)
        return None if times[id(found)] > 1 else found

    for layer in program.graph.nodes:
        if layer.target not in (*_CONVOLUTIONS, *_LINEAR):
            continue
        norm, second = _followed(layer)
        if second is None:
            continue
        shift_of = layer if norm is None else norm
        weight, bias = stored(layer.args[1]), _argument(shift_of, 2)
        shift, gain = stored(bias), None if norm is None else stored(norm.args[1])
        following = stored(second.args[1])
        incomplete = (bias is not None and shift is None) or (
            norm is not None and (gain is None or shift is None)
        )
        if weight is None or following is None or incomplete:
            continue
        deviation = None
        if norm is not None:
            deviation = (stored(norm.args[4]) + norm.args[7]).sqrt()
        yield _Pair(
            first=weight,
            shifts=() if shift is None else (shift,),
            gain=gain,
            deviation=deviation,
            second=following,
            groups=1 if second.target in _LINEAR else _argument(second, 6) or 1,
        )


def _argument(node: fx.Node, position: int) -> Any:
    return node.args[position] if len(node.args) > position else None


def _followed(layer: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """The BatchNorm right after a layer, and the next layer; None for what does not follow or breaks the pair."""
    kinds = _LINEAR if layer.target in _LINEAR else _CONVOLUTIONS
    value, norm = layer, None
    while len(value.users) == 1:
        (user,) = value.users
        if user.args[0] is not value:
            break
        if user.target is aten.batch_norm.default and value is layer and _channels_fit(layer):
            norm = user
        elif user.target in kinds:
            return norm, user
        elif user.target not in _SCALE_WITH_INPUT or (kinds is _LINEAR and "pool" in str(user.target)):
            break
        value = user
    return None, None


def _channels_fit(layer: fx.Node) -> bool:
    """Whether axis 1, the channels of a BatchNorm, are the output channels of the layer."""
    return layer.target in _CONVOLUTIONS or layer.meta["val"].dim() == 2

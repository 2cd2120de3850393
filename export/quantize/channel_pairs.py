"""Pairs of layers between which channels can be scaled without a change of the network's outputs.

Dividing an output channel of the first layer by a factor, and multiplying the same input channel of the second,
is exact if only functions with `f(s x) = s f(x)` for s > 0 lie between both: ReLU and pooling. A clamp such as
ReLU6 is one below its upper limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

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
_CLAMPS = (aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default, aten.clamp.default)


@dataclass(frozen=True, kw_only=True)
class ChannelPair:
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
    between: str
    """Name of the node whose value the second layer takes."""
    channels: int
    """Axis of the channels in this value."""
    limit: float | None
    """Upper limit of the clamp between both, which is exact below it only; None without a clamp."""

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel of the second layer reads one channel."""
        return self._by_input().shape[2] == 1

    def weights_before(self) -> Tensor:
        """Largest weight of each output channel of the first layer, with its BatchNorm."""
        before = self.first.flatten(1).abs().amax(1)
        if self.gain is not None and self.deviation is not None:
            before = before * self.gain.abs() / self.deviation
        return before

    def weights_after(self) -> Tensor:
        """Largest weight of each input channel of the second layer: groups x inputs of a group."""
        return self._by_input().abs().amax((1, 3))

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


def channel_pairs(model: nn.Module, program: ExportedProgram, *, clamps: bool) -> Iterator[ChannelPair]:
    """The pairs of the captured `model`, with `clamps` also those with a clamp from zero between them.

    Weights that several layers share, and layers whose output is used twice (residuals), are in no pair.
    """
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
        found = _followed(layer, clamps=clamps)
        if found is None:
            continue
        norm, second = found.norm, found.second
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
        yield ChannelPair(
            first=weight,
            shifts=() if shift is None else (shift,),
            gain=gain,
            deviation=deviation,
            second=following,
            groups=1 if second.target in _LINEAR else _argument(second, 6) or 1,
            between=found.between.name,
            channels=-1 if second.target in _LINEAR else 1,
            limit=found.limit,
        )


def _argument(node: fx.Node, position: int) -> Any:
    return node.args[position] if len(node.args) > position else None


class _Followed(NamedTuple):
    """What follows a layer."""

    norm: fx.Node | None
    """The BatchNorm right after it."""
    between: fx.Node
    """The value that the next layer takes."""
    second: fx.Node
    limit: float | None
    """The least upper limit of the clamps between both."""


def _followed(layer: fx.Node, *, clamps: bool) -> _Followed | None:
    """The next layer; None if something between both breaks the pair."""
    kinds = _LINEAR if layer.target in _LINEAR else _CONVOLUTIONS
    value, norm, limits = layer, None, list[float]()
    while len(value.users) == 1:
        (user,) = value.users
        if user.args[0] is not value:
            break
        if user.target is aten.batch_norm.default and value is layer and _channels_fit(layer):
            norm = user
        elif user.target in kinds:
            return _Followed(norm, value, user, min(limits, default=None))
        elif clamps and (limit := _limit_of_clamp(user)) is not None:
            limits.append(limit)
        elif user.target not in _SCALE_WITH_INPUT or (kinds is _LINEAR and "pool" in str(user.target)):
            break
        value = user
    return None


def _limit_of_clamp(node: fx.Node) -> float | None:
    """The upper limit of a clamp whose lower one is zero; None for any other node."""
    if node.target not in _CLAMPS:
        return None
    low, high = (0.0, 6.0) if node.target is aten.relu6.default else (_argument(node, 1), _argument(node, 2))
    return float(high) if low == 0 and isinstance(high, int | float) else None


def _channels_fit(layer: fx.Node) -> bool:
    """Whether axis 1, the channels of a BatchNorm, are the output channels of the layer."""
    return layer.target in _CONVOLUTIONS or layer.meta["val"].dim() == 2

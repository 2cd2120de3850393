"""Activation equalization: enlarges channels whose activations use a small part of the range of their tensor.

An int8 activation has one scale for all channels: a channel whose values reach a twelfth of the tensor's range has
21 of its 255 levels. Such channels are multiplied, and the weights that read them divided, by the same factor. That
costs nothing where the next layer is depthwise, since its weights have a scale for each channel. Other layers are
left as they are: their weights would lose what the activations gain, as in SmoothQuant (Xiao et al. 2023), which
cost up to 4 dB on small networks here. Nagel et al. 2019 equalize ranges of weights instead, which have a scale for
each output channel here, and leave out ReLU6. A clamp is exact below its limit: a factor takes no channel above it
that did not reach it in calibration, with a margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.quantize.channel_pairs import ChannelPair, channel_pairs

MARGIN = 1.1
"""Values up to this multiple of the largest of calibration stay below the limit of a clamp."""

LARGEST = 32.0
"""Largest factor: a channel that is nearly silent in calibration may be loud in use."""


@torch.no_grad()
def equalize_activations(
    model: nn.Module, program: ExportedProgram, batches: Iterable[tuple[Tensor, ...]]
) -> int:
    """Scales channels of `model` in place, and returns the number of pairs of layers with a changed channel.

    `program` is captured from the model, or from one of equal weights; `batches` are the inputs of calibration, of
    its shapes.
    """
    pairs = [pair for pair in channel_pairs(model, program, clamps=True) if pair.is_depthwise]
    if not pairs:
        return 0
    recorder = _Recorder(program.module(check_guards=False), {pair.between: pair.channels for pair in pairs})
    for batch in batches:
        recorder.run(*batch)
    changed = 0
    for pair in pairs:
        factors = _factors(pair, recorder.largest[pair.between])
        pair.scale(1 / factors)
        changed += bool((factors > 1).any())
    return changed


def note(pairs: int) -> str:
    """A note on what was changed."""
    return f"activation equalization of {pairs} pair{'s' * (pairs != 1)} of layers"


def _factors(pair: ChannelPair, largest: Tensor) -> Tensor:
    """What each channel is multiplied by, from its largest activation; at least 1."""
    limit = largest.max() if pair.limit is None else pair.limit / MARGIN
    return torch.where(largest > 0, limit / largest, 1.0).clamp(1, LARGEST)


class _Recorder(fx.Interpreter):
    """Runs the network and stores the largest absolute value of every channel of some nodes."""

    def __init__(self, graph: fx.GraphModule, channels: Mapping[str, int]) -> None:
        super().__init__(graph)
        self._channels = channels
        self.largest: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The value of the node."""
        value = super().run_node(n)
        if n.name in self._channels:
            found = value.movedim(self._channels[n.name], 0).flatten(1).abs().amax(1)
            self.largest[n.name] = torch.maximum(self.largest.get(n.name, found), found)
        return value

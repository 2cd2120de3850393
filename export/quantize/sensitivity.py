"""What int8 costs, layer by layer: the figures of a network with some of its rounding switched on.

One prepared graph is captured and calibrated once. Each of its observers becomes a switch that rounds or passes on,
so that any choice of int8 layers is measured without another graph: the numbers are those of
`export.quantize.mixed_precision.keep_float` followed by `convert`.

Source: the analyses are those of AIMET's QuantAnalyzer (quic.github.io/aimet-pages, "Quantization analyzer"):
float, weights only, activations only and both; every layer alone enabled and alone disabled. The distance is the
Kullback-Leibler divergence of the predictions, as in NVIDIA's AutoQuantize (`method="kl_div"`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from export.lower.source import place
from export.quantize.layers import is_weight, layers_of, observers, weight_values
from export.quantize.mixed_precision import Edge, rounded_edges
from models.spec import as_tuple

Logits = tuple[Tensor, ...]
"""Float tensors `N K`, one per output."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A network with some rounding against the float one, on the same clips."""

    kl: float
    """Mean over clips of the Kullback-Leibler divergence of its predictions from those of the float network, in
    nats; the sum over outputs."""
    top1: tuple[float, ...]
    """Top-1 of every label column, 0..1."""


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """The cost of int8 in one layer."""

    layer: str
    place: str
    """File, line and text of the user's source."""
    weights: int
    """Number of its int8 weights; 0 for a sum, a mean or another operator without weights."""
    alone: Figures
    """Only this layer is int8."""
    kept: Figures
    """All layers but this one are int8."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The cost of int8 in a network and in each of its layers."""

    clips: int
    totals: dict[str, Figures]
    """`float`, `weights` (only weights are int8), `activations` (only activations), `both`."""
    layers: tuple[LayerSensitivity, ...]
    """The layer that costs most when it alone is int8 first."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class SwitchedGraph:
    """A prepared graph whose roundings can be switched on and off; the graph given is not changed."""

    def __init__(self, prepared: fx.GraphModule) -> None:
        self.layers = layers_of(prepared)
        self.names = tuple(dict.fromkeys(self.layers.values()))
        self.prepared = prepared
        self._graph = copy.deepcopy(prepared)
        copies = {node.name: node for node in self._graph.graph.nodes}
        self._switches: dict[Edge, _Rounding] = {}
        for observer in observers(prepared):
            observed = getattr(prepared, str(observer.target))
            twin = copies[observer.name]
            for user in observer.users:
                switch = _Rounding(observed, weight=is_weight(observer))
                name = f"switch_{observer.name}_{user.name}"
                self._graph.add_submodule(name, switch)
                with self._graph.graph.inserting_after(twin):
                    switched = self._graph.graph.call_module(name, (twin.all_input_nodes[0],))
                copies[user.name].replace_input_with(twin, switched)
                self._switches[observer, user] = switch
            self._graph.graph.erase_node(twin)
        self._graph.recompile()

    def switch(
        self,
        float_layers: Collection[str] = (),
        *,
        weights: bool = True,
        activations: bool = True,
        alone: bool = False,
    ) -> None:
        """Rounds what is int8 if `float_layers` stay in float, of that only weights or only activations.

        With `alone` exactly the other layers are int8, even if `keep_float` would leave one of them in float too.
        """
        edges = rounded_edges(self.prepared, self.layers, frozenset(float_layers), alone=alone)
        for (observer, user), rounds in edges.items():
            chosen = weights if is_weight(observer) else activations
            self._switches[observer, user].on = rounds and chosen

    def rounds(self, float_layers: Collection[str] = ()) -> bool:
        """Whether anything is int8 if `float_layers` stay in float."""
        return any(rounded_edges(self.prepared, self.layers, frozenset(float_layers)).values())

    def weight_bytes(self, float_layers: Collection[str] = ()) -> int:
        """Bytes of all weights, scales and biases if `float_layers` stay in float: 1 byte for an int8 weight and 4
        for the scale of its channel, 4 for all other numbers."""
        edges = rounded_edges(self.prepared, self.layers, frozenset(float_layers))
        as_int8 = {o.all_input_nodes[0]: o for (o, _), rounds in edges.items() if rounds and is_weight(o)}
        total = 0
        for node in self.prepared.graph.nodes:
            if node.op == "get_attr" and node.users:
                values = attrgetter(str(node.target))(self.prepared)
                if node in as_int8:
                    scales, _ = getattr(self.prepared, str(as_int8[node].target)).calculate_qparams()
                    total += values.numel() + 4 * scales.numel()
                else:
                    total += values.numel() * values.element_size()
        return total

    def logits(self, batches: Sequence[tuple[Tensor, ...]], clips: int) -> Logits:
        """Logits of the first `clips` clips of `batches`, which have the batch size of the graph."""
        with torch.no_grad():
            parts = [as_tuple(self._graph(*batch)) for batch in batches]
        return tuple(torch.cat(column)[:clips] for column in zip(*parts, strict=True))


class _Rounding(nn.Module):
    """Rounds to int8 and back, or passes on."""

    def __init__(self, observer: Any, *, weight: bool) -> None:
        super().__init__()
        self.on = True
        scale, zero_point = observer.calculate_qparams()
        self.low, self.high = int(observer.quant_min), int(observer.quant_max)
        self.scale, self.zero_point = scale.detach(), zero_point.detach()
        self.is_weight = weight
        self._rounded: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape; a weight, whose first axis is the channels, is rounded once."""
        if not self.on:
            return x
        if not self.is_weight:
            return _round(x, self.scale, self.zero_point, self.low, self.high)
        if self._rounded is None:
            shape = (-1, *[1] * (x.dim() - 1)) if self.scale.numel() > 1 else ()
            parts = (self.scale.reshape(shape), self.zero_point.reshape(shape))
            self._rounded = _round(x, *parts, self.low, self.high)
        return self._rounded


def _round(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    steps = (x * (1 / scale)).round_()
    return torch.minimum(torch.maximum(steps, low - zero_point), high - zero_point).mul_(scale)


def analyse(
    graph: SwitchedGraph,
    batches: Sequence[tuple[Tensor, ...]],
    labels: Tensor,
    *,
    progress: Progress | None = None,
) -> Sensitivity:
    """The cost of every layer of `graph`, on clips with class indices `labels` (`N` x label columns).

    `batches` have the batch size of the graph; clips beyond `N`, which fill the last batch, do not count. A network
    with L layers runs 2 L + 4 times. Raises ValueError without clips.
    """
    clips = len(labels)
    if not clips:
        raise ValueError("there is no clip to measure the layers with; give at least one")
    runs, done = 2 * len(graph.names) + 4, 0
    floats: Logits | None = None

    def measured(float_layers: Collection[str] = (), **parts: bool) -> Figures:
        nonlocal done, floats
        graph.switch(float_layers, **parts)
        given = graph.logits(batches, clips)
        floats = given if floats is None else floats
        done += 1
        if progress is not None:
            progress(done, runs)
        return figures_of(given, floats, labels)

    totals = {
        "float": measured(graph.names),
        "weights": measured(activations=False),
        "activations": measured(weights=False),
        "both": measured(),
    }
    counts = weight_values(graph.prepared, graph.layers)
    places = {name: place(node) for node, name in reversed(graph.layers.items())}
    found = [
        LayerSensitivity(
            layer=name,
            place=places[name],
            weights=counts[name],
            alone=measured([other for other in graph.names if other != name], alone=True),
            kept=measured([name]),
        )
        for name in graph.names
    ]
    return Sensitivity(clips=clips, totals=totals, layers=tuple(sorted(found, key=lambda one: -one.alone.kl)))


def _log_shares(logits: Tensor) -> Tensor:
    """Logarithms of the predicted shares; in float32, small divergences would be lost."""
    return logits.double().log_softmax(1)


def figures_of(given: Logits, floats: Logits, labels: Tensor) -> Figures:
    """Divergence of the logits `given` from `floats`, and their top-1 for `labels` (`N` x label columns)."""
    kl = sum(
        F.kl_div(column, twin, log_target=True, reduction="batchmean").item()
        for column, twin in zip(map(_log_shares, given), map(_log_shares, floats), strict=True)
    )
    top1 = tuple(
        (column.argmax(1) == truth).double().mean().item()
        for column, truth in zip(given, labels.T, strict=False)
    )
    return Figures(kl=max(0.0, float(kl)), top1=top1)

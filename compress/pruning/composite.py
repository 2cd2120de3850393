"""Pruning of layers that are more than one matrix: recurrent layers and attention.

The dependency graph follows channels from layer to layer. While it is traced, these layers compute a stand-in of
the same shapes, so that their inner products do not appear in it; `rules` tells it how their inputs and outputs are
pruned. Heads of attention are groups of their own (`head_layers`), because no other layer depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.video_transformer import Attention

GATES: dict[type[nn.RNNBase], int] = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
"""Blocks of rows in the weights of a recurrent layer, one for each gate."""


class _Rule:
    """The interface of torch-pruning for a layer, whose channels do not depend on each other."""

    pruning_dim = -1

    def get_in_channel_groups(self, layer: nn.Module) -> int:
        """Number of parts that remain equally large."""
        return 1

    get_out_channel_groups = get_in_channel_groups


class RecurrentRule(_Rule):
    """Inputs and units of LSTM, GRU and RNN; a unit has a row in every gate and a column of the recurrent weights.

    Units of layers that are stacked, bidirectional or projected are not pruned (`left_whole`), their inputs are.
    """

    def prune_in_channels(self, layer: nn.RNNBase, indices: Sequence[int]) -> None:
        """Removes inputs."""
        kept = _kept(layer.input_size, indices)
        for name in ("weight_ih_l0", *(["weight_ih_l0_reverse"] if layer.bidirectional else [])):
            setattr(layer, name, _selected(getattr(layer, name), kept, axis=1))
        layer.input_size = len(kept)

    def prune_out_channels(self, layer: nn.RNNBase, indices: Sequence[int]) -> None:
        """Removes units."""
        kept = _kept(layer.hidden_size, indices)
        rows = [gate * layer.hidden_size + unit for gate in range(_gates(layer)) for unit in kept]
        for name in ("weight_ih_l0", "weight_hh_l0", *(["bias_ih_l0", "bias_hh_l0"] if layer.bias else [])):
            setattr(layer, name, _selected(getattr(layer, name), rows, axis=0))
        layer.weight_hh_l0 = _selected(layer.weight_hh_l0, kept, axis=1)
        layer.hidden_size = len(kept)

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        """Number of inputs."""
        return layer.input_size

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        """Number of outputs of a step."""
        return layer.hidden_size * (2 if layer.bidirectional else 1)


class AttentionRule(_Rule):
    """Features of the tokens before and after `models.video_transformer.Attention`."""

    def prune_in_channels(self, layer: Attention, indices: Sequence[int]) -> None:
        """Removes features of the tokens that it reads."""
        linear = layer.query_key_value
        kept = _kept(linear.in_features, indices)
        linear.weight, linear.in_features = _selected(linear.weight, kept, axis=1), len(kept)

    def prune_out_channels(self, layer: Attention, indices: Sequence[int]) -> None:
        """Removes features of the tokens that it writes."""
        linear = layer.project
        kept = _kept(linear.out_features, indices)
        linear.weight, linear.out_features = _selected(linear.weight, kept, axis=0), len(kept)
        linear.bias = _selected(linear.bias, kept, axis=0)

    def get_in_channels(self, layer: Attention) -> int:
        """Features of the tokens that it reads."""
        return layer.query_key_value.in_features

    def get_out_channels(self, layer: Attention) -> int:
        """Features of the tokens that it writes."""
        return layer.project.out_features


def rules(model: nn.Module) -> dict[type[nn.Module], Any]:
    """The rule of every type of composite layer in the network, for the dependency graph."""
    found: dict[type[nn.Module], Any] = {}
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            found[type(layer)] = RecurrentRule()
        elif isinstance(layer, Attention):
            found[type(layer)] = AttentionRule()
    return found


def left_whole(model: nn.Module) -> list[nn.Module]:
    """Composite layers whose output channels cannot be pruned."""
    found: list[nn.Module] = []
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            plain = layer.num_layers == 1 and not layer.bidirectional and not layer.proj_size
            found += [] if plain else [layer]
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is None:
            found.append(layer)
    return found


def parts(layer: nn.Module, indices: Sequence[int], *, out: bool) -> list[tuple[nn.Linear, list[int], bool]]:
    """The matrices within a composite layer to which channels belong, for criteria.

    Each is a linear layer that shares weights and gradients, the index of the matrix for every index, and whether
    these are outputs. Empty for other layers.
    """
    if isinstance(layer, Attention):
        return [(layer.project if out else layer.query_key_value, list(indices), out)]
    if isinstance(layer, nn.MultiheadAttention):
        packed = _as_linear(layer.in_proj_weight)
        return [(packed, list(indices), False), (layer.out_proj, list(indices), True)]
    if not isinstance(layer, nn.RNNBase):
        return []
    inputs = _as_linear(layer.weight_ih_l0)
    if not out:
        return [(inputs, list(indices), False)]
    recurrent = _as_linear(layer.weight_hh_l0)
    gates = [[gate * layer.hidden_size + unit for unit in indices] for gate in range(_gates(layer))]
    rows = [(linear, gate, True) for linear in (inputs, recurrent) for gate in gates]
    return [*rows, (recurrent, list(indices), False)]


def head_layers(model: nn.Module) -> Iterator[tuple[str, Attention]]:
    """Attention layers with several heads, by name; a head can be removed without effect on other layers."""
    for name, layer in model.named_modules():
        if isinstance(layer, Attention) and layer.heads > 1:
            yield name, layer


@contextmanager
def stand_ins(model: nn.Module) -> Iterator[None]:
    """Has composite layers compute linear functions of the same shapes."""
    replaced = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.RNNBase | nn.MultiheadAttention | Attention)
    ]
    for layer in replaced:
        layer.forward = _stand_in(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in replaced:
            del layer.forward


def _stand_in(layer: nn.Module) -> Callable[..., Any]:
    if isinstance(layer, nn.RNNBase):
        return _recurrent_stand_in(layer)
    if isinstance(layer, nn.MultiheadAttention):

        def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
            seen = _linear(key, layer.embed_dim) + _linear(value, layer.embed_dim)
            mean = seen.mean(1 if layer.batch_first else 0, keepdim=True)
            return _linear(_linear(query, layer.embed_dim) + mean, layer.embed_dim), None

        return attend
    assert isinstance(layer, Attention)
    return lambda tokens, **_: _linear(tokens, layer.project.out_features)


def _recurrent_stand_in(layer: nn.RNNBase) -> Callable[..., Any]:
    ways = 2 if layer.bidirectional else 1

    def run(steps: Tensor, _: Any = None) -> tuple[Tensor, Any]:
        out = _linear(steps, ways * (layer.proj_size or layer.hidden_size))
        last = out[:, -1] if layer.batch_first else out[-1]
        state = last.unflatten(1, (ways, -1)).transpose(0, 1).repeat(layer.num_layers, 1, 1)
        return out, (state, state) if isinstance(layer, nn.LSTM) else state

    return run


def _linear(x: Tensor, features: int) -> Tensor:
    """A linear function with a weight that is no parameter of the network."""
    return functional.linear(x, torch.ones(features, x.shape[-1], requires_grad=True))


def _gates(layer: nn.RNNBase) -> int:
    return next(count for kind, count in GATES.items() if isinstance(layer, kind))


def _as_linear(weight: Any) -> nn.Linear:
    """A linear layer with this weight."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = weight
    return linear


def _kept(count: int, removed: Sequence[int]) -> list[int]:
    gone = set(removed)
    return [index for index in range(count) if index not in gone]


def _selected(weight: Any, kept: Sequence[int], *, axis: int) -> nn.Parameter:
    """The rows or columns `kept` of a weight, and of its gradient."""
    places = torch.tensor(kept, dtype=torch.long)
    found = nn.Parameter(weight.detach().index_select(axis, places))
    found.grad = None if weight.grad is None else weight.grad.index_select(axis, places)
    return found

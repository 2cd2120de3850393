"""Pruning of layers that are more than one matrix: attention, and recurrent layers (`compress.pruning.recurrent`).

The dependency graph follows channels from layer to layer. While it is traced, these layers compute a stand-in of
the same shapes, so that their inner products do not appear in it; `rules` tells it how their inputs and outputs are
pruned. Heads of attention are groups of their own (`head_layers`), because no other layer depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from compress.pruning.matrices import Matrix, Rule, as_linear, kept_of, linear_of, selected
from compress.pruning.recurrent import (
    RecurrentRule,
    input_matrices,
    read_inside,
    recurrent_stand_in,
    unit_matrices,
)
from compress.pruning.taken_apart import Taken, TakenApart, TakenRule
from models.video_transformer import Attention


class AttentionRule(Rule):
    """Features of the tokens before and after `models.video_transformer.Attention`."""

    def prune_in_channels(self, layer: Attention, indices: Sequence[int]) -> None:
        """Removes features of the tokens that it reads."""
        linear = layer.query_key_value
        kept = kept_of(linear.in_features, indices)
        linear.weight, linear.in_features = selected(linear.weight, kept, axis=1), len(kept)

    def prune_out_channels(self, layer: Attention, indices: Sequence[int]) -> None:
        """Removes features of the tokens that it writes."""
        linear = layer.project
        kept = kept_of(linear.out_features, indices)
        linear.weight, linear.out_features = selected(linear.weight, kept, axis=0), len(kept)
        linear.bias = selected(linear.bias, kept, axis=0)

    def get_in_channels(self, layer: Attention) -> int:
        """Features of the tokens that it reads."""
        return layer.query_key_value.in_features

    def get_out_channels(self, layer: Attention) -> int:
        """Features of the tokens that it writes."""
        return layer.project.out_features


def rules(model: nn.Module) -> dict[type[nn.Module], Any]:
    """The rule of every type of composite layer in the network, for the dependency graph."""
    found: dict[type[nn.Module], Any] = {Taken: TakenRule()}
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            found[type(layer)] = RecurrentRule()
        elif isinstance(layer, Attention):
            found[type(layer)] = AttentionRule()
    return found


def left_whole(model: nn.Module, example: Sequence[Tensor]) -> list[nn.Module]:
    """Composite layers whose output channels cannot be pruned."""
    packed = [layer for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]
    return [
        *(layer for layer in packed if layer.in_proj_weight is None),
        *read_inside(model, example),
    ]


def matrices(layer: nn.Module, indices: Sequence[int], roots: Sequence[int], *, out: bool) -> list[Matrix]:
    """The matrices within a composite layer to which channels belong, for criteria. Empty for other layers."""
    if isinstance(layer, Attention):
        return [Matrix(layer.project if out else layer.query_key_value, list(indices), list(roots), out)]
    if isinstance(layer, nn.MultiheadAttention):
        inputs = Matrix(as_linear(layer.in_proj_weight), list(indices), list(roots), False)
        return [inputs, Matrix(layer.out_proj, list(indices), list(roots), True)]
    if isinstance(layer, nn.RNNBase):
        return unit_matrices(layer, indices, roots) if out else input_matrices(layer, indices, roots)
    return []


def head_layers(model: nn.Module) -> Iterator[tuple[str, Attention]]:
    """Attention layers with several heads, by name; a head can be removed without effect on other layers."""
    for name, layer in model.named_modules():
        if isinstance(layer, Attention) and layer.heads > 1:
            yield name, layer


@contextmanager
def stand_ins(model: nn.Module) -> Iterator[TakenApart]:
    """Has composite layers compute linear functions of the same shapes; gives the mode to run the network in."""
    apart = TakenApart()
    replaced = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.RNNBase | nn.MultiheadAttention | Attention)
    ]
    for layer in replaced:
        layer.forward = _stand_in(layer, apart)  # type: ignore[method-assign]
    try:
        yield apart
    finally:
        for layer in replaced:
            del layer.forward


def _stand_in(layer: nn.Module, apart: TakenApart) -> Callable[..., Any]:
    if isinstance(layer, nn.RNNBase):
        return recurrent_stand_in(layer, apart)
    if isinstance(layer, nn.MultiheadAttention):

        def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
            seen = linear_of(key, layer.embed_dim) + linear_of(value, layer.embed_dim)
            mean = seen.mean(1 if layer.batch_first else 0, keepdim=True)
            return linear_of(linear_of(query, layer.embed_dim) + mean, layer.embed_dim), None

        return attend
    assert isinstance(layer, Attention)
    return lambda tokens, **_: linear_of(tokens, layer.project.out_features)

"""Units of LSTM, GRU and RNN: stacked, bidirectional, projected.

All layers and directions of a module have equally many units. The outputs of one direction of one layer are a
part; parts are numbered layer by layer, forward before reverse, and channel `size * part + unit` is a unit of a
part. Removing a unit removes its row in every gate, its column of the recurrent weights, and its columns in both
directions of the next layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.pruning.matrices import Matrix, Rule, as_linear, kept_of, linear_of, selected
from compress.pruning.taken_apart import TakenApart
from models.spec import as_tuple

GATES: dict[type[nn.RNNBase], int] = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
"""Blocks of rows in the weights of a recurrent layer, one for each gate."""


class RecurrentRule(Rule):
    """Inputs and outputs of LSTM, GRU and RNN."""

    def prune_in_channels(self, layer: nn.RNNBase, indices: Sequence[int]) -> None:
        """Removes inputs."""
        kept = kept_of(layer.input_size, indices)
        for suffix in _suffixes(layer)[: _ways(layer)]:
            _select(layer, f"weight_ih{suffix}", kept, axis=1)
        layer.input_size = len(kept)

    def prune_out_channels(self, layer: nn.RNNBase, indices: Sequence[int]) -> None:
        """Removes units of all parts, by channel: equally many of each."""
        size, ways = unit_count(layer), _ways(layer)
        gone = set(indices)
        kept = [
            [unit for unit in range(size) if size * part + unit not in gone]
            for part in range(parts_of(layer))
        ]
        for part, suffix in enumerate(_suffixes(layer)):
            _select(layer, f"weight_hh{suffix}", kept[part], axis=1)
            if part >= ways:
                first = part // ways * ways - ways
                columns = [size * way + unit for way in range(ways) for unit in kept[first + way]]
                _select(layer, f"weight_ih{suffix}", columns, axis=1)
            if layer.proj_size:
                _select(layer, f"weight_hr{suffix}", kept[part], axis=0)
            else:
                _select_rows(layer, suffix, kept[part])
        if layer.proj_size:
            layer.proj_size = len(kept[0])
        else:
            layer.hidden_size = len(kept[0])

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        """Number of inputs."""
        return layer.input_size

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        """Number of outputs of a step."""
        return unit_count(layer) * _ways(layer)


def unit_count(layer: nn.RNNBase) -> int:
    """Outputs of one direction."""
    return layer.proj_size or layer.hidden_size


def parts_of(layer: nn.RNNBase) -> int:
    """Number of layers times directions."""
    return layer.num_layers * _ways(layer)


def inner_channels(layer: nn.RNNBase) -> int:
    """Number of channels of all layers but the last, which other layers do not see."""
    return (layer.num_layers - 1) * _ways(layer) * unit_count(layer)


def remove_cells(layer: nn.Module, indices: Sequence[int]) -> None:
    """Removes cells of a projected LSTM, which only its projections read: channel `hidden_size * part + cell`."""
    assert isinstance(layer, nn.LSTM)
    size, gone = layer.hidden_size, set(indices)
    for part, suffix in enumerate(_suffixes(layer)):
        kept = kept_of(size, [one - size * part for one in gone])
        _select_rows(layer, suffix, kept)
        _select(layer, f"weight_hr{suffix}", kept, axis=1)
    layer.hidden_size = len(kept)


def input_matrices(layer: nn.RNNBase, indices: Sequence[int], roots: Sequence[int]) -> list[Matrix]:
    """The matrices that read inputs of the layer."""
    return [
        Matrix(as_linear(getattr(layer, f"weight_ih{suffix}")), list(indices), list(roots), False)
        for suffix in _suffixes(layer)[: _ways(layer)]
    ]


def unit_matrices(layer: nn.RNNBase, channels: Sequence[int], roots: Sequence[int]) -> list[Matrix]:
    """The matrices that compute or read units within the layer, by channel."""
    size, ways, suffixes = unit_count(layer), _ways(layer), _suffixes(layer)
    found: list[Matrix] = []
    for part, suffix in enumerate(suffixes):
        own = [(one % size, root) for one, root in zip(channels, roots, strict=True) if one // size == part]
        units, their_roots = [unit for unit, _ in own], [root for _, root in own]
        if layer.proj_size:
            projection = as_linear(getattr(layer, f"weight_hr{suffix}"))
            found.append(Matrix(projection, units, their_roots, True))
        else:
            found += _row_matrices(layer, suffix, units, their_roots)
        found.append(Matrix(as_linear(getattr(layer, f"weight_hh{suffix}")), units, their_roots, False))
        columns = [size * (part % ways) + unit for unit in units]
        next_layer = (part // ways + 1) * ways
        for reader in suffixes[next_layer : next_layer + ways]:
            found.append(Matrix(as_linear(getattr(layer, f"weight_ih{reader}")), columns, their_roots, False))
    return found


def cell_matrices(layer: nn.RNNBase) -> list[Matrix]:
    """The matrices of the cells of a projected LSTM; roots are channels `hidden_size * part + cell`."""
    cells = list(range(layer.hidden_size))
    found: list[Matrix] = []
    for part, suffix in enumerate(_suffixes(layer)):
        roots = [layer.hidden_size * part + cell for cell in cells]
        found += _row_matrices(layer, suffix, cells, roots)
        found.append(Matrix(as_linear(getattr(layer, f"weight_hr{suffix}")), cells, roots, False))
    return found


def projected_layers(model: nn.Module) -> Iterator[tuple[str, nn.LSTM]]:
    """LSTMs with projections, by name."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.LSTM) and layer.proj_size:
            yield name, layer


def read_inside(model: nn.Module, example: Sequence[Tensor]) -> list[nn.RNNBase]:
    """Recurrent layers of which the network reads final states of other layers than the last, or cells before their
    projection; found by setting these states to NaN."""
    found: list[nn.RNNBase] = []
    for layer in model.modules():
        if not isinstance(layer, nn.RNNBase) or (layer.num_layers == 1 and not layer.proj_size):
            continue
        handle = layer.register_forward_hook(_hide)
        try:
            with torch.no_grad():
                outputs = as_tuple(model(*example))
        finally:
            handle.remove()
        if any(bool(one.isnan().any()) for one in outputs):
            found.append(layer)
    return found


def silence(layer: nn.RNNBase, channels: Sequence[int]) -> None:
    """Makes units of a layer zero in every step, by channel."""
    size = unit_count(layer)
    gates = 1 if layer.proj_size else _gates(layer)
    with torch.no_grad():
        for part, suffix in enumerate(_suffixes(layer)):
            units = [one % size for one in channels if one // size == part]
            for name in [f"weight_hr{suffix}"] if layer.proj_size else _row_weights(layer, suffix):
                getattr(layer, name)[[gate * size + unit for gate in range(gates) for unit in units]] = 0


def recurrent_stand_in(layer: nn.RNNBase, apart: TakenApart) -> Callable[..., Any]:
    """A linear function of the same shapes, for the dependency graph; `apart` watches its outputs and states."""
    ways = _ways(layer)
    width = ways * unit_count(layer)

    def run(steps: Tensor, _: Any = None) -> tuple[Tensor, Any]:
        out = linear_of(steps, width)
        last = (out[:, -1] if layer.batch_first else out[-1]).detach()
        state = last.unflatten(1, (ways, -1)).transpose(0, 1).repeat(layer.num_layers, 1, 1) + 0 * out.sum()
        channels = torch.arange(width)
        apart.watch(out, channels.expand(out.shape).clone())
        of_states = channels.view(ways, 1, -1).expand(ways, *state.shape[1:])
        inner = of_states.new_full((len(state) - ways, *state.shape[1:]), -1)
        apart.watch(state, torch.cat([inner, of_states]))
        if not isinstance(layer, nn.LSTM):
            return out, state
        return out, (state, linear_of(state, layer.hidden_size) if layer.proj_size else state)

    return run


def _hide(layer: nn.RNNBase, _: Any, given: Any) -> Any:
    """Sets the final states of all layers but the last to NaN, and all cells of a projected LSTM."""
    out, states = given
    hidden, *cells = states if isinstance(layer, nn.LSTM) else (states,)
    inner = (layer.num_layers - 1) * _ways(layer)
    hidden[:inner] = torch.nan
    for one in cells:
        one[: None if layer.proj_size else inner] = torch.nan
    return out, (hidden, *cells) if cells else hidden


def _ways(layer: nn.RNNBase) -> int:
    return 2 if layer.bidirectional else 1


def _suffixes(layer: nn.RNNBase) -> list[str]:
    """The ends of the names of weights, by part."""
    ways = ("", "_reverse")[: _ways(layer)]
    return [f"_l{number}{way}" for number in range(layer.num_layers) for way in ways]


def _gates(layer: nn.RNNBase) -> int:
    return next(count for kind, count in GATES.items() if isinstance(layer, kind))


def _row_weights(layer: nn.RNNBase, suffix: str) -> list[str]:
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ()))
    return [f"{kind}{suffix}" for kind in kinds]


def _row_matrices(layer: nn.RNNBase, suffix: str, units: list[int], roots: list[int]) -> list[Matrix]:
    return [
        Matrix(linear, [gate * layer.hidden_size + unit for unit in units], roots, True)
        for linear in (as_linear(getattr(layer, f"{kind}{suffix}")) for kind in ("weight_ih", "weight_hh"))
        for gate in range(_gates(layer))
    ]


def _select_rows(layer: nn.RNNBase, suffix: str, kept: Sequence[int]) -> None:
    rows = [gate * layer.hidden_size + unit for gate in range(_gates(layer)) for unit in kept]
    for name in _row_weights(layer, suffix):
        _select(layer, name, rows, axis=0)


def _select(layer: nn.RNNBase, name: str, kept: Sequence[int], *, axis: int) -> None:
    setattr(layer, name, selected(getattr(layer, name), kept, axis=axis))

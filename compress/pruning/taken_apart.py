"""Outputs of recurrent layers that a network takes apart: `chunk`, `split`, `narrow`, `unbind`, slices, states.

The dependency graph of torch-pruning follows these functions on axis 1 of some shapes only. While it is traced,
each of them becomes a module `Taken`, and the graph is told which channels it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compress.pruning.matrices import Rule

TAKES_APART = (
    *("chunk", "split", "split_with_sizes", "tensor_split", "narrow", "unbind"),
    *("select", "index_select", "__getitem__"),
)
REARRANGES = ("transpose", "permute", "movedim", "swapaxes", "unflatten", "unsqueeze", "squeeze")
KEEPS_CHANNELS = (
    *("relu", "gelu", "silu", "tanh", "sigmoid", "hardswish", "dropout", "layer_norm"),
    *("contiguous", "clone", "float", "add", "sub", "mul"),
)


class Taken(nn.Module):
    """Some channels of a tensor."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)

    def forward(self, whole: Tensor, part: Tensor) -> Tensor:
        """The part, of which autograd knows that it is computed from the whole."""
        return part + 0 * whole.sum()


class TakenRule(Rule):
    """Channels of `Taken`, which has no weights."""

    def prune_in_channels(self, layer: Taken, indices: Sequence[int]) -> None:
        """Removes nothing: other layers have the weights."""

    prune_out_channels = prune_in_channels

    def get_in_channels(self, layer: Taken) -> int:
        """Number of channels taken."""
        return len(layer.channels)

    get_out_channels = get_in_channels


class TakenApart(TorchFunctionMode):
    """Finds functions that take channels of watched tensors, and has a `Taken` compute each."""

    def __init__(self) -> None:
        super().__init__()
        self.modules: list[Taken] = []
        self._next = 0
        self._watched: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def watch(self, value: Tensor, channels: Tensor, *, whole: Tensor | None = None) -> None:
        """Follows a tensor; `channels` has its shape, and the channel of every element.

        `whole` has the same channels, of which the dependency graph knows more.
        """
        self._watched[id(value)] = (value, channels, value if whole is None else whole)

    def restart(self) -> None:
        """Gives the same modules again in the next forward pass."""
        self._next = 0
        self._watched.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        found = self._watched.get(id(args[0])) if args and isinstance(args[0], Tensor) else None
        if found is None or name not in (*TAKES_APART, *REARRANGES, *KEEPS_CHANNELS):
            return func(*args, **kwargs)
        _, channels, whole = found
        result = func(*args, **kwargs)
        if name in KEEPS_CHANNELS:
            if result.shape == channels.shape:
                self.watch(result, channels)
            return result
        places = func(channels, *args[1:], **kwargs)
        if isinstance(result, Tensor):
            return self._part(whole, channels, result, places)
        return tuple(self._part(whole, channels, *pair) for pair in zip(result, places, strict=True))

    def _part(self, whole: Tensor, channels: Tensor, part: Tensor, places: Tensor) -> Tensor:
        taken, numbers = places.unique(return_inverse=True)
        if len(taken) == len(channels.unique()):
            self.watch(part, places, whole=whole)
            return part
        if self._next == len(self.modules):
            self.modules.append(Taken(taken.tolist()))
        module = self.modules[self._next]
        self._next += 1
        value: Tensor = module(whole, part.detach())
        self.watch(value, numbers)
        return value


@contextmanager
def named_in(model: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Has `modules` among those of the network."""
    if not modules:
        yield
        return
    model.add_module("taken_apart", nn.ModuleList(modules))
    try:
        yield
    finally:
        del model.taken_apart


def map_channels(graph: Any, modules: Sequence[Taken]) -> None:
    """Tells a dependency graph which channels each module takes."""
    for module in modules:
        node = graph.module2node.get(module)
        if node is None:  # no output of the network is computed from it
            continue
        for source in node.inputs:
            for dep in source.dependencies:
                if dep.target is node:
                    dep.index_mapping[0] = _Number({old: new for new, old in enumerate(module.channels)})
            for dep in node.dependencies:
                if dep.target is source:
                    dep.index_mapping[0] = _Number(dict(enumerate(module.channels)))


class _Number:
    """Numbers channels again, without those that have no new number."""

    def __init__(self, numbers: dict[int, int]) -> None:
        self._numbers = numbers

    def __call__(self, indices: Sequence[Any]) -> list[Any]:
        return [
            type(one)(idx=self._numbers[one.idx], root_idx=one.root_idx)
            for one in indices
            if one.idx in self._numbers
        ]

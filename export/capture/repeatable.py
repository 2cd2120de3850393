"""Checks that a network is deterministic and has no memory: the same input must give the same outputs.

The first outputs for an input are compared with later ones, with other inputs between them. Where they differ, and
agree once the seeds are the same, they were random. Otherwise the network keeps values between calls, and the
changed attributes are named.

What a network caches at its first call may depend on sizes only. A fresh copy that has not been called is therefore
compared with the network as well, on an input that the network received later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.capture.lines import running_line
from export.private.torch import TorchDispatchMode, tree_leaves, tree_map_only

TOLERANCE = 1e-5
"""Largest difference between two outputs, relative to the largest value, that counts as rounding."""

_SHOWN = 4

Run = Callable[[], tuple[np.ndarray, ...]]
"""Runs the network on one input, always the same."""


class RandomOutputs(ValueError):
    """The network draws random numbers."""


def state_of(network: nn.Module) -> dict[str, Any]:
    """What a network's modules hold besides parameters: buffers and plain attributes, tensors as copies."""
    return {
        f"{path}.{name}".lstrip("."): tree_map_only(Tensor, lambda t: t.detach().clone(), _plain(value))
        for path, module in network.named_modules()
        for name, value in [
            *module.named_buffers(recurse=False, remove_duplicate=False),
            *vars(module).items(),
        ]
        if not name.startswith(("_parameters", "_buffers", "_modules", "_forward", "_backward", "training"))
    }


def _plain(value: Any) -> Any:
    """`value` if it is data, else a placeholder for its type."""
    if value is None or isinstance(value, Tensor | bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value) if value.dtype.kind in "iufb" else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set) or type(value).__name__ == "deque":
        return [_plain(part) for part in value]
    return type(value).__name__


def check_repeatable(network: nn.Module, run: Run, first: tuple[np.ndarray, ...]) -> None:
    """Raises ValueError if the outputs of `network` for an input differ from `first`, those before other inputs.

    `RandomOutputs` if it draws random numbers.
    """
    before = state_of(network)
    again = run()
    after = state_of(network)
    if _same(first, again):
        return
    drawn = _Draws()
    before_it = _generators()
    with drawn:
        run()
    draws = bool(drawn.lines) or _generators() != before_it
    if draws and _same(_seeded(run), _seeded(run)):
        lines = f" at {', '.join(drawn.lines)}" if drawn.lines else ""
        raise RandomOutputs(
            f"the network draws random numbers{lines}: two runs on one input give different outputs; draw "
            "in training mode only, as F.dropout(x, training=self.training) does"
        )
    changed = _changed(before, after)
    raise ValueError(
        "the network keeps values between calls: a second run on the same input gives other outputs "
        f"({_difference(first, again):.2g} of the largest value); {_named(changed)}. A file keeps nothing between "
        "calls: reset it in forward, or let step(frame, state) take and return the state and use --stream "
        "(docs/streaming.md)"
    )


def check_first_call(
    network: nn.Module, fresh_copy: nn.Module, run: Run, expected: tuple[np.ndarray, ...]
) -> None:
    """Raises ValueError if the outputs of `fresh_copy`, a copy of `network` from before its first call, differ.

    `run` runs the copy on one input. `expected` are the outputs of `network` for it, after other inputs. A copy
    that draws random numbers at its first call differs in any case, and is not checked.
    """
    drawn, before_it = _Draws(), _generators()
    with drawn:
        first = run()
    if drawn.lines or _generators() != before_it:
        return
    if _same(expected, first):
        return
    changed = _changed(_all_of(network), _all_of(fresh_copy))
    raise ValueError(
        "the network caches values of its first input: a copy whose first input is another gives other outputs "
        f"({_difference(expected, first):.2g} of the largest value); {_named(changed)}. "
        "Compute them in __init__, or anew in every forward; a cache may depend on sizes only"
    )


def _all_of(network: nn.Module) -> dict[str, Any]:
    return {**state_of(network), **dict(network.named_parameters())}


def _generators() -> tuple[Any, ...]:
    """States of the random number generators that a network may use."""
    numpy = np.random.get_state(legacy=False)
    return torch.get_rng_state().tolist(), random.getstate(), str(numpy)


def _seeded(run: Run) -> tuple[np.ndarray, ...]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            return run()
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    shapes = [array.shape for array in one], [array.shape for array in other]
    return shapes[0] == shapes[1] and _difference(one, other) <= TOLERANCE


def _difference(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> float:
    parts = [
        float(np.abs(a.astype(float) - b).max()) / max(float(np.abs(a.astype(float)).max()), 1e-30)
        for a, b in zip(one, other, strict=True)
        if a.size and a.shape == b.shape
    ]
    return max(parts, default=0.0)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if name not in before or not _equal(before[name], after[name])]


def _equal(one: Any, other: Any) -> bool:
    leaves, others = tree_leaves(one), tree_leaves(other)
    if len(leaves) != len(others):
        return False
    for a, b in zip(leaves, others, strict=True):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a, b):
                return False
        elif isinstance(a, Tensor) or isinstance(b, Tensor) or a != b:
            return False
    return True


def _named(changed: list[str]) -> str:
    if not changed:
        return "none of its buffers and attributes changed, so look for a variable outside of it"
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"what changed: {', '.join(changed[:_SHOWN])}{more}"


class _Draws(TorchDispatchMode):
    """Finds the lines that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            line = running_line()
            if line is not None:
                self.lines[line] = None
        return func(*args, **(kwargs or {}))

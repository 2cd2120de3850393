"""Private APIs of torch."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch

from compress.command.insides import Insides
from compress.command.lines import is_library

WRITTEN_FOR = {"torch": "2.13.0"}

_inside = Insides(WRITTEN_FOR, __name__)

TorchDispatchMode: Any = _inside("torch.utils._python_dispatch:TorchDispatchMode")
"""Dispatch mode that receives every operator; torch's notes on extending it document this name."""

tree_flatten_with_path: Any = _inside("torch.utils._pytree:tree_flatten_with_path")
tree_leaves: Any = _inside("torch.utils._pytree:tree_leaves")
tree_map: Any = _inside("torch.utils._pytree:tree_map")
tree_map_only: Any = _inside("torch.utils._pytree:tree_map_only")
tree_structure: Any = _inside("torch.utils._pytree:tree_structure")
SequenceKey: Any = _inside("torch.utils._pytree:SequenceKey")
"""Nested tuples, lists and dicts as in `torch.export`, registered dataclasses included."""


def schema_of(target: Any) -> Any | None:
    """The schema of an operator, the `target` of a node; `None` if it is not an operator of torch."""
    if isinstance(target, type(torch.ops.aten.add.Tensor)):
        return _inside.of(target, "_schema")
    return getattr(target, "_schema", None)  # ExecuTorch's operators have a separate class


def decompositions(operators: Collection[Any]) -> dict[Any, Callable[..., Any]]:
    """Torch's decompositions of `operators`, including those that are core ATen operators.

    The public `default_decompositions` omits these, not all of which coremltools takes.
    """
    found: dict[Any, Callable[..., Any]] = _inside("torch._decomp:get_decompositions")(list(operators))
    return found


@contextlib.contextmanager
def user_lines_kept(*, file: str, function: str) -> Iterator[None]:
    """Keeps every line of the user's code in stack traces of captured nodes; torch keeps only that of `forward`.

    The traces begin after the innermost call of `function` in `file`, the call that captures, and contain no other
    line of that file.
    """
    tracer_kind: Any = _inside("torch.fx.proxy:TracerBase")
    own = _inside("torch.fx.proxy:TracerBase._filter_traceback_frames")

    def kept(tracer: Any, summary: traceback.StackSummary) -> traceback.StackSummary:
        frames = list(summary)
        begins = (i for i, frame in enumerate(frames) if (frame.filename, frame.name) == (file, function))
        forward = own(tracer, summary)
        return traceback.StackSummary.from_list(
            [
                frame
                for frame in frames[max(begins, default=-1) + 1 :]
                if frame.filename != file
                and (frame in forward or not (frame.filename.startswith("<") or is_library(frame.filename)))
            ]
        )

    tracer_kind._filter_traceback_frames = kept
    try:
        yield
    finally:
        tracer_kind._filter_traceback_frames = own


@contextlib.contextmanager
def no_autocast(note: Callable[[], None]) -> Iterator[None]:
    """Makes `torch.autocast` a no-op within the context, and calls `note` where it would have had an effect."""
    kind = _inside("torch:autocast")
    own = _inside("torch:autocast.__enter__"), _inside("torch:autocast.__exit__")

    def enter(region: Any) -> Any:
        if _inside.of(region, "_enabled"):
            note()
        return region

    kind.__enter__, kind.__exit__ = enter, lambda *_: None
    try:
        yield
    finally:
        kind.__enter__, kind.__exit__ = own

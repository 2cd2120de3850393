"""A network as one static graph of ATen operators, the form in which everything else in this package reads it."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from export.child import in_a_sentence

_TORCH = Path(torch.__file__).parent


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """The graph of `model(*example)` in eval mode, static in every shape, batch size included.

    The model keeps its own training mode. Raises TypeError when an input is not a tensor, NotImplementedError when
    `torch.export` cannot capture the network (control flow that depends on values, as a rule), naming the line.
    """
    for position, value in enumerate(example):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"input {position} of the example is {type(value).__name__}; give one tensor per input"
            )
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), _data_is_detached():
            return torch.export.export(model, example)
    except Exception as error:  # of many types, most of them torch's own
        raise NotImplementedError(
            f"the network cannot be captured as one graph{_place(error)}: {in_a_sentence(error)}; let what is "
            "computed depend on shapes, not on values: torch.where instead of `if`, no .item()"
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode


def named_outputs(result: Any) -> dict[str, Tensor]:
    """The tensors in what a network returns, however nested, in the order of its tuples, lists and dicts.

    `logits` for a single tensor; keys and attributes as they are; `output_0`, `output_1`, ... in tuples and lists;
    joined by `_` where they are nested. None is left out, as `torch.export` leaves it out. Raises ValueError for
    anything else that is no tensor.
    """
    leaves, _ = pytree.tree_flatten_with_path(result)
    named = {_name(path): leaf for path, leaf in leaves if leaf is not None}
    for leaf in named.values():
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"the network returns {type(leaf).__name__}; let it return tensors: one, or several in tuples, "
                "lists, dicts or a dataclass that torch.export.register_dataclass has been told of"
            )
    if len(named) < sum(leaf is not None for _, leaf in leaves):
        raise ValueError(f"two outputs of the network have one name, among {', '.join(named)}; rename one")
    return {"logits": named["output_0"]} if list(named) == ["output_0"] else named


def _name(path: tuple[Any, ...]) -> str:
    if not path:
        return "logits"
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    if isinstance(path[0], pytree.SequenceKey):
        parts.insert(0, "output")
    return re.sub(r"\W", "_", "_".join(parts))


@contextlib.contextmanager
def _data_is_detached() -> Iterator[None]:
    """While it lasts, `x.data` of a captured value is `x.detach()`; torch would take it for a constant."""
    own: Any = torch._C.TensorBase.data  # type: ignore[attr-defined]

    def read(tensor: Tensor) -> Tensor:
        return tensor.detach() if isinstance(tensor, FakeTensor) else own.__get__(tensor)

    torch.Tensor.data = property(read, own.__set__)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        del torch.Tensor.data


def _place(error: Exception) -> str:
    """The innermost line outside torch that was being captured, if there is one."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_TORCH) and frame.filename != __file__
    ]
    return f" at {frames[-1].filename}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""

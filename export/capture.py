"""A network as one static graph of ATen operators, the form in which everything else in this package reads it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram

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

"""Computes in float32, as every file does, where a network uses other float types or autocast.

A network whose parameters all have another type is cast. Where its `forward` requests other types (`x.half()`,
`torch.autocast`), a mode replaces them with float32 while the network runs and while it is captured. Notes report
both. Complex numbers, which no runtime supports, are refused.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from export.capture.lines import running_line
from export.private.torch import TorchDispatchMode, no_autocast, tree_leaves, tree_map, tree_map_only

FLOAT32 = torch.float32

_SHOWN = 3

_CASTS: dict[Any, Callable[[Tensor], Tensor]] = dict.fromkeys(
    (Tensor.half, Tensor.bfloat16, Tensor.double), Tensor.float
)


def is_other_float(dtype: torch.dtype | None) -> bool:
    """Whether `dtype` is a real float type other than float32."""
    return dtype is not None and dtype.is_floating_point and dtype is not FLOAT32


def own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of `module` itself by name, without those of its children."""
    return [
        *module.named_parameters(recurse=False, remove_duplicate=False),
        *module.named_buffers(recurse=False, remove_duplicate=False),
    ]


def cast_numbers(network: nn.Module) -> tuple[str, ...]:
    """Casts parameters, buffers and other tensors of `network` to float32 in place. Returns notes."""
    found: dict[torch.dtype, list[str]] = {}
    for path, module in network.named_modules():
        for name, value in own_tensors(module):
            if is_other_float(value.dtype):
                found.setdefault(value.dtype, []).append(f"{path}.{name}".lstrip("."))
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and is_other_float(value.dtype):
                found.setdefault(value.dtype, []).append(f"{path}.{name}".lstrip("."))
                setattr(module, name, value.detach().float())
    if not found:
        return ()
    network.float()
    return tuple(
        f"cast to float32, in which files compute: {_counted(names)} of type {_name(dtype)}"
        for dtype, names in found.items()
    )


def compute_in_float32(
    network: nn.Module, example: tuple[Tensor, ...], *, fresh_copy: nn.Module
) -> tuple[str, ...]:
    """Makes `network` compute in float32 only, on inputs like `example`. Returns notes on what `forward` requests.

    `fresh_copy`, a copy of it, is changed in the same way, and not called. A network that computes in float32
    already stays as it is. So does one that fails: its next caller gets the error. Raises ValueError, with the
    line, for values of other types that cannot be cast.
    """
    watch = _Watch(example)
    try:
        with torch.no_grad(), watch:
            network(*watch.given)
        failed = False
    except Exception:  # the user's own code
        failed = True
    watch.refuse_complex()
    if not failed and not watch.other:
        return ()
    mode, again = InFloat32(), _Watch(example)
    try:
        with torch.no_grad(), again, mode, no_autocast(mode.note):
            network(*again.given)
    except Exception:  # the user's own code
        return ()
    if not mode.changed and not again.other:
        return ()
    if again.other:
        line, dtype = next(iter(again.other.items()))
        raise ValueError(
            f"the network computes in {_name(dtype)} at {line}, and files compute in float32; cast it there: "
            ".float()"
        )
    _wrap(network)
    _wrap(fresh_copy)
    lines = list(mode.requested or watch.other)
    more = f" and {len(lines) - _SHOWN} more lines" if len(lines) > _SHOWN else ""
    return (
        f"computed in float32, as every file is, where forward requests another float type: "
        f"{', '.join(lines[:_SHOWN])}{more}",
    )


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Makes new tensors float32 within the context, whatever the user's `torch.set_default_dtype`."""
    own = torch.get_default_dtype()
    torch.set_default_dtype(FLOAT32)
    try:
        yield
    finally:
        torch.set_default_dtype(own)


class InFloat32(TorchFunctionMode):
    """Replaces requests for other float types with float32 while active."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = False
        """Whether another type was requested."""
        self.requested: dict[str, None] = {}
        """The user's lines that requested one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CASTS:
            self.note()
            return _CASTS[func](args[0])
        args, kwargs = tree_map(self._wanted, (args, kwargs))
        return tree_map_only(Tensor, self._cast, func(*args, **kwargs))

    def _wanted(self, value: Any) -> Any:
        if isinstance(value, torch.dtype) and is_other_float(value):
            self.note()
            return FLOAT32
        return self._cast(value) if isinstance(value, Tensor) else value

    def _cast(self, value: Tensor) -> Tensor:
        return value.float() if type(value) is Tensor and is_other_float(value.dtype) else value

    def note(self) -> None:
        """Records the user's line that is running."""
        self.changed = True
        line = running_line()
        if line is not None:
            self.requested[line] = None


class _Watch(TorchDispatchMode):
    """Finds what is computed from the inputs in a type other than float32, and the line."""

    def __init__(self, example: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.given = tuple(tensor.clone() for tensor in example)
        self.other: dict[str, torch.dtype] = {}
        self._complex: str | None = None
        self._computed = WeakIdKeyDictionary()
        self._computed.update(dict.fromkeys(self.given, True))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs))
        if any(leaf in self._computed for leaf in leaves if isinstance(leaf, Tensor)):
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self._computed[value] = True
                    self._look_at(value.dtype)
        return result

    def _look_at(self, dtype: torch.dtype) -> None:
        if is_other_float(dtype):
            self.other.setdefault(running_line() or "an unknown line", dtype)
        elif dtype.is_complex and self._complex is None:
            self._complex = running_line() or "an unknown line"

    def refuse_complex(self) -> None:
        """Raises ValueError where the network computes with complex numbers."""
        if self._complex is not None:
            raise ValueError(
                f"the network computes with complex numbers at {self._complex}, which no runtime supports: keep "
                "real and imaginary parts as two tensors; a Fourier transform of fixed length is two matrix "
                "products, with cosines and sines"
            )


def _wrap(network: nn.Module) -> None:
    for name in ("forward", "step", "initial_state"):
        own = getattr(network, name, None)
        if callable(own):
            setattr(network, name, _in_float32(own))


def _in_float32(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        mode = InFloat32()
        with mode, no_autocast(mode.note):
            return call(*args, **kwargs)

    return wrapped


def _counted(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""Prepares a user's network for export: a float32 copy on the CPU in eval mode, with notes on the changes.

Networks that cannot be exported are refused here, with a remedy: TorchScript modules, quantized modules,
parameters without values, tensors that are not plain arrays.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from compress.command.sentence import in_a_sentence
from compress.command.user_code import user_code
from export.capture.float32 import cast_numbers, compute_in_float32, own_tensors

_PLAIN = (Tensor, nn.Parameter, nn.Buffer)

_ADVICE_SCRIPT = (
    "give the network as the Python class that it was compiled from, with its weights by load_state_dict, and "
    "leave out torch.jit.script, torch.jit.trace and torch.jit.load: a file is a graph already"
)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A network that is ready to be captured."""

    network: nn.Module
    fresh_copy: nn.Module
    """The same network before its first call; `network` was run on the example."""
    notes: tuple[str, ...]
    """Sentences on the differences between its files and the given network."""


def ready(model: nn.Module, example: tuple[Tensor, ...]) -> Ready:
    """A copy of `model` that computes in float32, run once on the inputs `example`; `model` is not changed.

    Wrappers for training (DataParallel, torch.compile) are removed. Raises ValueError for a value that is not a
    network, and for one that cannot be exported.
    """
    network = _unwrapped(model)
    _refuse(network)
    network = copied(network)
    _unwrap_parts(network)
    notes = cast_numbers(network)
    fresh_copy = copied(network)
    with user_code(f"forward of {type(network).__name__}"):
        more = compute_in_float32(network, example, fresh_copy=fresh_copy)
    return Ready(network=network, fresh_copy=fresh_copy, notes=(*notes, *more))


def in_eval_mode(network: nn.Module) -> nn.Module:
    """`network` itself, in eval mode: `train` and `eval` of a user's module may return None."""
    try:
        network.eval()
    except Exception as error:  # the user's own code
        raise ValueError(f"calling eval() of {_kind(network)} failed: {in_a_sentence(error)}") from error
    return network


def copied(network: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode. What cannot be copied, such as a lock, is shared with the given network."""
    shared = dict(_own_copies(network))
    try:
        copy.deepcopy(network, dict(shared))
    except Exception:  # of many types: any that an attribute raises
        for value in _uncopyable(network, shared):
            shared[id(value)] = value
    try:
        result = copy.deepcopy(network, shared)
        result.cpu()
    except Exception as error:
        raise ValueError(f"{_kind(network)} cannot be copied: {in_a_sentence(error)}") from error
    return in_eval_mode(result)


def _own_copies(network: nn.Module) -> Iterator[tuple[int, Tensor]]:
    """Tensors that deepcopy refuses: results of weight_norm have a history, and subclasses may need arguments."""
    for module in network.modules():
        for value in [*vars(module).values(), *(value for _, value in own_tensors(module))]:
            if not isinstance(value, Tensor):
                continue
            if type(value) not in _PLAIN and not is_lazy(value):
                plain = value.detach().as_subclass(Tensor).clone()
                is_weight = isinstance(value, nn.Parameter)
                yield id(value), nn.Parameter(plain, value.requires_grad) if is_weight else plain
            elif not value.is_leaf:
                yield id(value), value.detach().clone()


def _uncopyable(network: nn.Module, shared: dict[int, Any]) -> Iterator[Any]:
    kept = ("_parameters", "_buffers", "_modules")
    for module in network.modules():
        for name, value in vars(module).items():
            if name not in kept:
                try:
                    copy.deepcopy(value, dict(shared))
                except Exception:  # of many types, as above
                    yield value


def _unwrapped(model: Any) -> nn.Module:
    if inspect.isclass(model):
        raise ValueError(
            f"the network is the class {model.__name__}; give an instance of it: {model.__name__}()"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(f"the network is {type(model).__name__}; give a torch.nn.Module")
    while (inside := _inside(model)) is not None:
        model = inside
    return model


def _inside(module: nn.Module) -> nn.Module | None:
    """The network inside a wrapper for training."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return module.module
    # The wrapper of torch.compile, whose class is not imported for this.
    return next(module.children(), None) if type(module).__name__ == "OptimizedModule" else None


def _unwrap_parts(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, part in module.named_children():
            while (inside := _inside(part)) is not None:
                part = inside
                module.add_module(name, part)


def _refuse(network: nn.Module) -> None:
    for path, module in network.named_modules():
        where = f"module {path!r}" if path else "the network"
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{where} is a TorchScript module ({_kind(module)}); {_ADVICE_SCRIPT}")
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized")):
            raise ValueError(
                f"{where} is quantized already ({_kind(module)}); give the float network and choose the scheme "
                "w8a8, or w8 for weights alone"
            )
        for name, value in own_tensors(module):
            _refuse_tensor(f"{path}.{name}" if path else name, value)


def _refuse_tensor(name: str, value: Tensor) -> None:
    if is_lazy(value):
        raise ValueError(
            f"{name} of the network has no shape yet (a Lazy module): call the network once on an example, and "
            "load its weights, before the export"
        )
    if value.is_meta:
        raise ValueError(
            f"{name} of the network is on the meta device and has no values: call to_empty(device='cpu'), then "
            "load its weights, or load_state_dict(..., assign=True)"
        )
    if value.layout is not torch.strided:
        raise ValueError(f"{name} of the network is sparse ({value.layout}); make it dense: to_dense()")
    if value.is_quantized:
        raise ValueError(
            f"{name} of the network is quantized ({value.dtype}); keep it in float: dequantize()"
        )
    own = getattr(type(value).__torch_function__, "__func__", None)
    torchs: Any = Tensor.__torch_function__
    if hasattr(value, "__tensor_flatten__") or own not in (None, torchs.__func__):
        raise ValueError(
            f"{name} of the network is a {type(value).__name__}, a tensor subclass with its own arithmetic; give "
            "plain float tensors: the exporter quantizes, by scheme"
        )


def _kind(network: nn.Module) -> str:
    return str(getattr(network, "original_name", type(network).__name__))

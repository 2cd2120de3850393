"""Loads the network that a user names on the command line: `package.module:factory` or
`path/to/file.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from compress.command.lines import at_line, first_line
from compress.command.user_code import user_code
from export.weights_file import mismatches, read_state_dict, refuse


def load_network(reference: str, *, weights: Path | None = None) -> nn.Module:
    """The network that `reference` names, in eval mode, with the weights of a file if one is given.

    `reference` is `package.module:name` (found from the working directory) or `path/to/file.py:name`, where `name`
    is a network or a function without arguments that returns one. This runs the user's code. `weights` is a state
    dict, `.safetensors` or saved by `torch.save`; names and shapes must match the network's.

    Raises ValueError if it does not lead to a network or the weights do not fit, FileNotFoundError for a missing
    file.
    """
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ValueError(
            f"network {reference!r}: give MODULE:FACTORY, such as package.module:make_net or "
            "path/to/file.py:make_net"
        )
    if where.endswith(".py") and not Path(where).is_file():
        raise FileNotFoundError(f"{where}: there is no such file")
    module = _own_code(lambda: _import(where), f"importing {where!r}")
    if not hasattr(module, name):
        near = get_close_matches(name, dir(module), n=1)
        raise ValueError(f"{where} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    found = getattr(module, name)
    network = found if isinstance(found, nn.Module) else _made(found, reference)
    if weights is not None:
        load_weights(network, weights)
    _own_code(network.eval, f"eval() of {reference}")
    return network


def _import(where: str) -> ModuleType:
    if not where.endswith(".py"):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        return importlib.import_module(where)
    path = Path(where).resolve()
    # Under a separate name if another module (such as Pocketreel's `models`) has that of the file.
    name = path.stem if path.stem not in sys.modules else f"own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    # Modules in the folder of the file can be imported, as when it is run.
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _made(factory: Any, reference: str) -> nn.Module:
    if isinstance(factory, type) and issubclass(factory, nn.Module) and not _takes_nothing(factory):
        raise ValueError(
            f"{reference} is a class that needs arguments; write a function that returns an instance"
        )
    if not callable(factory):
        raise ValueError(
            f"{reference} is {type(factory).__name__}; it must be a network or a function that returns one"
        )
    network = _own_code(factory, f"calling {reference}")
    if not isinstance(network, nn.Module):
        if isinstance(network, type) and issubclass(network, nn.Module):
            name = network.__name__
            raise ValueError(
                f"{reference} returns the class {name}; it must return an instance of it: {name}()"
            )
        raise ValueError(f"{reference} returns {_what(network)}; it must return a torch.nn.Module")
    return network


def _takes_nothing(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


def _what(value: Any) -> str:
    """The type of a value, for messages."""
    return (
        "None; does it return the network? (eval() returns None where train() does)"
        if value is None
        else type(value).__name__
    )


def _own_code(call: Callable[[], Any], doing: str) -> Any:
    """The result of `call`. An exception of the user's code becomes a ValueError with the line that raised it."""
    with user_code(doing):
        try:
            return call()
        except Exception as error:
            message = f"{doing} failed with {type(error).__name__}: {first_line(error)}{at_line(error)}"
            raise ValueError(message) from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a state dict into `network`; nothing in the file is executed. Floats keep the type of the file.

    Raises FileNotFoundError, or ValueError for any other kind of file and for names or shapes that do not match.
    """
    where = f"--weights {path}"
    weights = read_state_dict(path, where=where)
    if faults := mismatches(network, weights):
        raise refuse(where, "; ".join(faults))
    expected = network.state_dict()
    # Assignment keeps the type of the file, and gives meta tensors values; copying would cast silently. The
    # exporter casts and reports it.
    others = [
        name for name in expected if weights[name].dtype != expected[name].dtype or expected[name].is_meta
    ]
    _own_code(
        lambda: network.load_state_dict(weights, assign=bool(others)),
        f"load_state_dict of {type(network).__name__}",
    )

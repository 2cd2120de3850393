"""User networks: a factory that builds the network, and a file with its weights."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from torch import nn

from compress.command.lines import at_line
from compress.command.sentence import in_a_sentence
from compress.command.user_code import user_code
from export.weights_file import mismatches, read_state_dict, refuse
from models.spec import ClipSpec


def import_factory(reference: str) -> Callable[[ClipSpec], nn.Module]:
    """Imports the function `package.module:function`, which runs the code of its module.

    Raises `ValueError` for a malformed reference and for anything but a callable.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"a factory has the form package.module:function, not {reference!r}")
    with user_code(f"importing {module_name!r} of factory {reference!r}"):
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise ValueError(
                f"cannot import {module_name!r} of factory {reference!r}: {in_a_sentence(error)}{at_line(error)}"
            ) from error
        if not hasattr(module, attribute):
            close = get_close_matches(attribute, dir(module), n=1)
            more = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{module_name!r} has no {attribute!r} (factory {reference!r}){more}")
        factory = getattr(module, attribute)
    if not callable(factory):
        raise ValueError(f"factory {reference!r} is a {type(factory).__name__}, not a function")
    try:
        inspect.signature(factory).bind(None)
    except TypeError as error:
        raise ValueError(
            f"factory {reference!r} must accept one argument, the `ClipSpec` of the data: {error}"
        ) from error
    except ValueError:  # its signature is unknown
        pass
    return factory


def build_network(reference: str, spec: ClipSpec) -> nn.Module:
    """The network that the factory `reference` builds for clips of `spec`, in eval mode.

    Raises `ValueError` for a factory that fails or returns anything but a module.
    """
    factory = import_factory(reference)
    with user_code(f"calling factory {reference!r}"):
        try:
            network = factory(spec)
            if isinstance(network, nn.Module):
                network.eval()
        except Exception as error:
            raise ValueError(
                f"factory {reference!r} failed: {in_a_sentence(error)}{at_line(error)}"
            ) from error
    if not isinstance(network, nn.Module):
        given = (
            "None; check that it returns the network (eval() returns None if train() does)"
            if network is None
            else type(network).__name__
        )
        raise ValueError(f"factory {reference!r} returns {given}; it must return a torch.nn.Module")
    return network


def source_of(reference: str) -> str:
    """Hex SHA-256 of the file of a factory, without the modules that it imports."""
    factory = inspect.unwrap(import_factory(reference))
    try:
        path = inspect.getsourcefile(factory)
    except TypeError:  # a callable object
        path = inspect.getsourcefile(type(factory)) if type(factory).__module__ != "builtins" else None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a state dict from `.safetensors`, or from a torch file with `weights_only=True`.

    Raises `ValueError` for any other kind of file, and if names or shapes do not match the network.
    """
    weights = read_state_dict(path)
    try:
        with user_code(f"loading the weights of {type(model).__name__}"):
            model.load_state_dict(weights)
    except Exception as error:
        raise refuse(str(path), "; ".join(mismatches(model, weights)) or in_a_sentence(error)) from error

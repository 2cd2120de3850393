"""Reads a file of weights and compares it with a network; nothing in the file is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from compress.command.sentence import in_a_sentence
from compress.folders.writing import naming


def read_weights(path: Path, *, where: str | None = None) -> dict[str, Any]:
    """The contents of a `.safetensors` file, or of a torch file that holds a dict.

    Messages begin with `where`, by default the path. Raises FileNotFoundError, or ValueError for any other file.
    """
    where = where or str(path)
    if not path.is_file():
        why = "is not a regular file" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"{where}: {why}")
    try:
        with naming(path):
            if path.suffix == ".safetensors":
                return load_file(path)
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise many types
        if isinstance(error, OSError) and error.errno is not None:
            raise  # permission denied, or similar
        raise ValueError(
            f"{where} is not a plain file of weights; write one with safetensors, or with "
            f"torch.save(net.state_dict(), ...) ({in_a_sentence(error)})"
        ) from error
    if not isinstance(weights, dict):
        raise ValueError(
            f"{where} holds a {type(weights).__name__}, not a state dict; save net.state_dict() alone"
        )
    return weights


def read_state_dict(path: Path, *, where: str | None = None) -> dict[str, Tensor]:
    """The tensors of a state dict by name; raises the errors of `read_weights`, and ValueError for other values."""
    weights = read_weights(path, where=where)
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()):
        raise ValueError(f"{where or path} holds more than a state dict; save net.state_dict() alone")
    return weights


def mismatches(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Differences between a state dict and the network's: names, shapes, and float against integer types."""
    expected = network.state_dict()
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    common = [name for name in expected if name in weights]
    shapes = [
        f"{name} is {list(weights[name].shape)}, must be {list(expected[name].shape)}"
        for name in common
        if weights[name].shape != expected[name].shape
    ]
    types = [
        f"{name} is {weights[name].dtype}, must be {expected[name].dtype}"
        for name in common
        if weights[name].is_floating_point() != expected[name].is_floating_point()
    ]
    return [
        *([f"{len(missing)} missing, such as {missing[0]}"] if missing else []),
        *([f"{len(surplus)} unknown, such as {surplus[0]}"] if surplus else []),
        *shapes[:1],
        *types[:1],
    ]


def refuse(where: str, faults: str) -> ValueError:
    """The error for weights of another network."""
    return ValueError(f"{where} does not contain the weights of this network: {faults}")

"""The device that trains."""

from __future__ import annotations

import torch


def training_device(name: str) -> torch.device:
    """The device of `--train-device`; `ValueError` for an unknown or a missing one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise ValueError(f"--train-device is {name!r}; allowed: auto, cpu, cuda, mps")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--train-device is cuda, but torch finds no CUDA device here; use cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("--train-device is mps, but torch finds no Apple GPU here; use cpu or auto")
    return torch.device(name)

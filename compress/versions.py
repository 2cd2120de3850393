"""Versions of the packages that results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from export import EXPORTERS

TRAINING = ("torch", "torchao", "torch-pruning")
"""Packages for training."""

FILES = tuple(dict.fromkeys(name for row in EXPORTERS.values() for name in row.distributions))
"""Packages for exporting and running files."""


def installed(names: Iterable[str] = (*TRAINING, *FILES)) -> dict[str, str]:
    """Versions of the installed distributions, by name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

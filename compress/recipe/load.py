"""The way from a file to a `Recipe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def load_recipe(path: Path, *, overrides: Sequence[str] = ()) -> Any:
    """The checked recipe in the YAML file `path`, after the `key.path=value` settings in `overrides`.

    Raises `RecipeError` with all faults found. Computes nothing and opens no clip; a teacher that names a
    `factory` has that module imported, which runs its Python code.
    """
    raise NotImplementedError

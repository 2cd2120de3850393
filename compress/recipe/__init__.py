"""Recipes: reads YAML into a validated, immutable `Recipe`, or reports all faults of the file at once.

    recipe = load_recipe(Path("recipes/mobilenet3d_int8.yaml"), overrides=["seed=1"])

The steps, one file each: `source` reads the YAML and applies overrides, `sections` defines the models of the
sections, `translate` words their errors, `checks` validates across sections, `load` combines them; `plan` lists
the steps of a run. `keys` finds unknown words before any network is imported, together with the values (`values`)
that the JSON Schema refuses, in the same `wording`; imports here are therefore lazy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.recipe.faults import Fault, RecipeError
    from compress.recipe.load import load_recipe, parse_recipe
    from compress.recipe.sections import Recipe
    from compress.recipe.source import dump_yaml

__all__ = ["Fault", "Recipe", "RecipeError", "dump_yaml", "load_recipe", "parse_recipe"]

_HOMES = {
    **dict.fromkeys(("Fault", "RecipeError"), "faults"),
    **dict.fromkeys(("load_recipe", "parse_recipe"), "load"),
    "Recipe": "sections",
    "dump_yaml": "source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"compress.recipe.{_HOMES[name]}"), name)

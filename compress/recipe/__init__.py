"""Recipes: YAML in, a checked and immutable `Recipe` out, or every fault of the file at once.

    recipe = load_recipe(Path("recipes/mobilenet3d_int8.yaml"), overrides=["seed=1"])

The steps, one file each: `source` reads the YAML and applies overrides, `sections` holds the models that
give each section its meaning, `translate` words what those find, `checks` looks across sections, `load`
joins them; `plan` says what a run will do. `keys` finds words that no recipe has before any network is imported,
and beside such a word the values (`values`) that the JSON Schema refuses, in the same `wording`: for that nothing
here is imported before it is asked for.
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

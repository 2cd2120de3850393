"""Recipes: YAML in, a checked and immutable `Recipe` out, or every fault of the file at once.

    recipe = load_recipe(Path("recipes/mobilenet3d_int8.yaml"), overrides=["seed=1"])

The steps, one file each: `source` reads the YAML and applies overrides, `sections` holds the models that
give each section its meaning, `translate` words what those find, `checks` looks across sections, `load`
joins them; `plan` says what a run will do.
"""

from compress.recipe.faults import Fault, RecipeError
from compress.recipe.load import load_recipe, parse_recipe
from compress.recipe.plan import Plan, plan
from compress.recipe.sections import Recipe
from compress.recipe.source import dump_yaml

__all__ = ["Fault", "Plan", "Recipe", "RecipeError", "dump_yaml", "load_recipe", "parse_recipe", "plan"]

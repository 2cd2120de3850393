"""Random and invalid recipes: each is refused with messages, or planned."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from compress.recipe import RecipeError, parse_recipe
from compress.recipe.plan import plan
from tests.fuzz.hostile import TEXTS, VALUES, cases, damaged

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "tests" / "recipes" / "tiny.yaml").read_text()
MAIN = (ROOT / "recipes" / "mobilenet3d_int8.yaml").read_text()
WHOLE = yaml.safe_load(TEXT)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value of a tree."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [place for key, child in inner for place in places(child, (*path, key))]


def planned_or_refused(text: str) -> None:
    """Whatever else is raised fails the test."""
    try:
        recipe = parse_recipe(text, name="fuzz")
    except RecipeError as error:
        assert error.faults and len(str(error)) < 20_000
        return
    Console(file=io.StringIO(), width=100).print(plan(recipe))


@st.composite
def changed(draw: st.DrawFn) -> str:
    """The tiny recipe with one to three values replaced, keys added or left out."""
    tree = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        node = tree
        for key in path[:-1]:
            node = node[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if what == "replace":
            node[path[-1]] = draw(VALUES)
        elif what == "remove":
            del node[path[-1]]
        elif isinstance(node, dict):
            node[draw(TEXTS)] = draw(VALUES)
        if not tree:
            break
    return yaml.safe_dump(tree, allow_unicode=True)


@cases(150)
@given(changed())
def test_changed_values(text: str) -> None:
    planned_or_refused(text)


@cases(60)
@given(damaged(MAIN.encode()))
def test_damaged_text(data: bytes) -> None:
    planned_or_refused(data.decode(errors="replace"))


@cases(60)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    planned_or_refused(text)


@cases(60)
@given(st.lists(st.tuples(TEXTS, TEXTS).map("=".join) | TEXTS, min_size=1, max_size=2))
def test_overrides(overrides: list[str]) -> None:
    try:
        parse_recipe(TEXT, name="fuzz", overrides=overrides)
    except RecipeError as error:
        assert error.faults

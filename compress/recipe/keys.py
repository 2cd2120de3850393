"""Keys and names that a recipe cannot have, found in the JSON Schema alone: before anything large is imported.

Everything else about a recipe is checked by `compress.recipe.load`, which has to know the networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.recipe.faults import Fault, RecipeError, listed, nearest
from compress.recipe.source import Place, Source, apply_overrides, path_text, read_source

SCHEMA = Path(__file__).resolve().parents[2] / "recipes" / "recipe.schema.json"
"""Written by `compress.reference`; a checkout has it."""

_CHOSEN_BY = ("source", "network", "name")
"""Keys whose value says which other keys there may be."""

_Schema = Mapping[str, Any]


def check_words(recipe: Path, set_: Sequence[str] | None = None, **_: Any) -> None:
    """Raises ValueError for a file that is no recipe, and for keys, stages and networks that there are none of.

    The arguments are options of a command, of which others are left aside. Without the schema beside this package
    it looks at the file alone; `load_recipe` says the rest later.
    """
    source = apply_overrides(read_source(recipe), set_ or ())
    if not SCHEMA.is_file():
        return
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    faults = list(_unknown(source.data, schema, (), schema=schema, source=source))
    if faults:
        in_reading_order = sorted(faults, key=lambda fault: fault.line or 0)
        error = RecipeError(in_reading_order, source=source.name)
        raise ValueError(f"{error}\nValues are checked once all words are known.")


def _unknown(value: Any, node: _Schema, place: Place, *, schema: _Schema, source: Source) -> Iterator[Fault]:
    if isinstance(value, list) and "items" in node:
        for index, entry in enumerate(value):
            yield from _unknown(entry, node["items"], (*place, index), schema=schema, source=source)
    choices = [one for one in _objects(node, schema) if one.get("additionalProperties") is False]
    if not isinstance(value, dict) or not choices:
        return

    def fault(key: str, problem: str, names: list[str], given: str | None = None) -> Fault:
        where = (*place, key)
        close = nearest(key if given is None else given, names)
        text = path_text(where)
        return Fault(
            path=text,
            problem=problem,
            given=given,
            allowed=listed(names),
            nearest=close,
            line=source.line(where),
        )

    for key in _CHOSEN_BY:
        named = {one["properties"][key]["const"]: one for one in choices if _is_fixed(one, key)}
        if key in value and len(named) > 1:
            if not isinstance(value[key], str) or value[key] not in named:
                yield fault(key, f"unknown {key}", list(named), str(value[key]))
                return
            choices = [named[value[key]]]
    fitting = [one for one in choices if set(one.get("required", ())) <= set(value)]
    choices = fitting if len(fitting) == 1 else choices
    names = list(dict.fromkeys(key for one in choices for key in one["properties"]))
    for key, inner in value.items():
        if key not in names:
            what = "section" if not place else "stage" if place[0] == "stages" and len(place) == 2 else "key"
            yield fault(key, f"unknown {what}", names)
        elif len(choices) == 1:
            child = choices[0]["properties"][key]
            yield from _unknown(inner, child, (*place, key), schema=schema, source=source)


def _is_fixed(choice: _Schema, key: str) -> bool:
    return "const" in choice["properties"].get(key, {})


def _objects(node: _Schema, schema: _Schema) -> Iterator[_Schema]:
    """Every mapping with keys of its own that may stand at a node."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if "properties" in node:
        yield node
    for inner in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _objects(inner, schema)

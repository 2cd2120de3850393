"""Finds unknown words and invalid values of a recipe by its JSON Schema alone, before any large import.

`compress.recipe.load` checks everything else, for which it imports the networks, and words faults in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.recipe.faults import MAX_SHOWN, Fault, RecipeError, listed, nearest
from compress.recipe.renamed import is_given_by_old_name, renamed_to
from compress.recipe.source import Place, Source, apply_overrides, path_text, read_source
from compress.recipe.values import wrong_value
from compress.recipe.wording import (
    A_LIST,
    CHOICE,
    MAPPING,
    NOT_A_STAGE,
    ONE_VERB,
    OTHER_ORIGINS,
    TWO_ORIGINS,
    missing_key,
    no_such_file,
    not_a_choice,
    shown,
    wrong_type,
)

SCHEMA = Path(__file__).resolve().parents[2] / "recipes" / "recipe.schema.json"
"""Written by `compress.studies.generate_docs`; part of a checkout."""

_CHOSEN_BY = ("source", "network", "name")
"""Keys whose value determines the other keys."""

_SECTIONS_BY: dict[Place, str] = {("data",): "source", ("student",): "network", ("teacher",): "network"}
"""Sections with alternatives, and the key that selects one."""

_LATER = "Networks, user code and dependencies between sections are checked after these faults are fixed."

_Schema = Mapping[str, Any]


def check_words(recipe: Path, set_: Sequence[str] | None = None, **_: Any) -> None:
    """Raises ValueError for a file that is not a recipe, and for unknown keys, stages and networks.

    In that case, it also reports all values that the schema does not allow; a recipe without unknown words is left
    to the full check. The arguments are options of a command; others are ignored. Without the schema file, it only
    checks that the file can be read; `load_recipe` reports the rest.
    """
    source = apply_overrides(read_source(recipe), set_ or ())
    if not SCHEMA.is_file():
        return
    words = _Words(json.loads(SCHEMA.read_text(encoding="utf-8")), source)
    faults = list(words.faults())
    if words.unknown:
        in_reading_order = sorted(faults, key=lambda fault: fault.line or 0)
        raise ValueError(f"{RecipeError(in_reading_order, source=source.name)}\n{_LATER}")


class _Words:
    """A recipe and its schema."""

    def __init__(self, schema: _Schema, source: Source) -> None:
        self._schema, self._source = schema, source
        self.unknown = 0
        """Unknown words so far."""

    def faults(self) -> Iterator[Fault]:
        """Yields all faults that the schema reveals."""
        yield from self._of(self._source.data, self._schema, ())

    def _of(self, value: Any, node: _Schema, place: Place) -> Iterator[Fault]:
        node = self._resolved(node)
        if value is None and _allows_null(node):
            return
        objects = [one for one in self._objects(node) if one.get("additionalProperties") is False]
        if objects and isinstance(value, dict):
            yield from self._of_mapping(value, objects, place)
            return
        plain = self._plain(node)
        if not objects and plain is not None:
            yield from self._of_plain(value, plain, place)
        elif objects and plain is None and not self._has_several_kinds(node):
            if place[:1] == ("stages",) and len(place) == 2:
                yield self._fault(place, NOT_A_STAGE, shown(value), ONE_VERB)
            else:
                by = "network" if place[:1] == ("teachers",) else _SECTIONS_BY.get(place)
                wanted = MAPPING if by is None else f"a mapping with the key {by} and its settings"
                yield self._fault(place, *wrong_type(value, wanted))

    def _of_plain(self, value: Any, node: _Schema, place: Place) -> Iterator[Fault]:
        if place in (("stages",), ("gates",)) and not isinstance(value, list):
            yield self._fault(place, *wrong_type(value, A_LIST))
            return
        choices = node.get("enum", [node["const"]] if "const" in node else None)
        if choices is not None:
            if not any(type(value) is type(one) and value == one for one in choices):
                names = [str(one) for one in choices]
                close = nearest(str(value), names)
                yield self._fault(place, not_a_choice(value, place), shown(value), listed(names), close=close)
            return
        wrong = wrong_value(value, node)
        if wrong is not None:
            yield self._fault(place, *wrong)
        elif node.get("format") == "path" and place[0] in ("data", "teacher", "teachers", "student"):
            path = Path(value)
            if not _exists(path):
                yield self._fault(place, no_such_file(str(path.absolute())), str(path))
        if isinstance(value, list):
            items = node.get("prefixItems", [])
            for index, entry in enumerate(value):
                inner = items[index] if index < len(items) else node.get("items")
                if isinstance(inner, Mapping):
                    yield from self._of(entry, inner, (*place, index))
        elif isinstance(value, dict) and isinstance(node.get("additionalProperties"), Mapping):
            for key, inner in value.items():
                yield from self._of(inner, node["additionalProperties"], (*place, key))

    def _of_mapping(self, value: dict[str, Any], choices: list[_Schema], place: Place) -> Iterator[Fault]:
        origins = [name for name in ("network", *OTHER_ORIGINS) if name in value]
        is_network = place in (("teacher",), ("student",)) or (place[:1] == ("teachers",) and len(place) == 2)
        if is_network and len(origins) > 1:
            yield self._fault(place, TWO_ORIGINS, listed(origins))
            return
        for key in _CHOSEN_BY:
            named = {one["properties"][key]["const"]: one for one in choices if _is_fixed(one, key)}
            if len(named) < 2:
                continue
            if key in value:
                if not isinstance(value[key], str) or value[key] not in named:
                    problem = CHOICE if key == "name" else f"unknown {key}"
                    yield self._unknown((*place, key), problem, list(named), given=value[key])
                    return
                choices = [named[value[key]]]
            elif len(named) == len(choices):
                yield self._fault((*place, key), missing_key(""), None, listed(named))
        is_stage = place[:1] == ("stages",) and len(place) == 2
        if is_stage and len(value) != 1:
            yield self._fault(place, NOT_A_STAGE, shown(value), ONE_VERB)
        fitting = [one for one in choices if set(one.get("required", ())) <= set(value)]
        choices = fitting if len(fitting) == 1 else choices
        names = list(dict.fromkeys(key for one in choices for key in one["properties"]))
        for key, inner in value.items():
            if key not in names:
                what = "section" if not place else "stage" if is_stage else "key"
                yield self._unknown((*place, key), f"unknown {what}", names)
            elif len(choices) == 1:
                yield from self._of(inner, choices[0]["properties"][key], (*place, key))
        if len(choices) == 1:
            for key in choices[0].get("required", ()):
                if key not in value and not is_given_by_old_name((*place, key), value):
                    about = choices[0]["properties"][key].get("description", "")
                    yield self._fault((*place, key), missing_key(about, section=not place))

    def _unknown(self, place: Place, problem: str, names: list[str], *, given: Any = None) -> Fault:
        self.unknown += 1
        moved = renamed_to(place)
        if moved is not None:
            return self._fault(place, moved)
        text = None if given is None else shown(given)
        # With hundreds of unknown words, suggestions are not useful.
        word = str(place[-1] if given is None else given)
        close = nearest(word, names) if self.unknown <= MAX_SHOWN else None
        return self._fault(place, problem, text, listed(names), close=close)

    def _fault(
        self,
        place: Place,
        problem: str,
        given: str | None = None,
        allowed: str | None = None,
        *,
        close: str | None = None,
    ) -> Fault:
        line = self._source.line(place)
        return Fault(
            path=path_text(place), problem=problem, given=given, allowed=allowed, nearest=close, line=line
        )

    def _resolved(self, node: _Schema) -> _Schema:
        if "$ref" not in node:
            return node
        found: _Schema = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
        return found

    def _objects(self, node: _Schema) -> Iterator[_Schema]:
        """Every mapping that a node allows."""
        node = self._resolved(node)
        if "properties" in node:
            yield node
        for inner in _alternatives(node):
            yield from self._objects(inner)

    def _has_several_kinds(self, node: _Schema) -> bool:
        """Whether a node allows a mapping or something else, such as a number; the full check decides."""
        kinds = {self._resolved(one).get("type", "object") for one in _alternatives(node)}
        return len(kinds - {"null"}) > 1

    def _plain(self, node: _Schema) -> _Schema | None:
        """The schema of a node other than null; `None` for several alternatives, which the full check handles."""
        others = [self._resolved(one) for one in _alternatives(node)]
        others = [one for one in others if one.get("type") != "null"]
        if not others:
            return node if "properties" not in node else None
        return self._plain(others[0]) if len(others) == 1 else None


def _alternatives(node: _Schema) -> list[_Schema]:
    return [*node.get("anyOf", ()), *node.get("oneOf", ())]


def _allows_null(node: _Schema) -> bool:
    return any(one.get("type") == "null" for one in _alternatives(node))


def _is_fixed(choice: _Schema, key: str) -> bool:
    return "const" in choice["properties"].get(key, {})


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # reported by the full check
        return True

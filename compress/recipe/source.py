"""Step 1: reads a recipe file to plain data with line numbers, and applies `key.path=value` overrides.

`compose` defines the YAML dialect and its limits.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from compress.recipe.compose import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_KEY,
    MAX_VALUES,
    PATTERNS,
    Place,
    compose,
    path_text,
    too_large,
)
from compress.recipe.faults import Fault, RecipeError, listed, nearest

__all__ = ["Place", "Source", "apply_overrides", "dump_yaml", "parse_source", "path_text", "read_source"]


class _Dumper(yaml.SafeDumper):
    """Adds the resolvers of the recipe dialect to PyYAML's, so that ambiguous text is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern in PATTERNS.items():
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), None)


@dataclass(frozen=True)
class Source:
    """Plain data of a recipe with the position of each value in the file."""

    name: str
    data: dict[str, Any]
    root: yaml.Node | None = None
    overridden: tuple[Place, ...] = ()

    def line(self, path: Place) -> int | None:
        """Line of the value at `path`, or of its parent; None for a value of an override."""
        if any(path[: len(given)] == given for given in self.overridden):
            return None
        node, line = self.root, None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pair = next(((key, value) for key, value in node.value if key.value == part), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def read_source(path: Path) -> Source:
    """Reads a YAML file. Raises `RecipeError` for a file that is missing or is not a YAML mapping."""

    def refused(fault: Fault) -> RecipeError:
        return RecipeError([fault], source=shortened(str(path), 200))

    try:
        if not path.is_file():
            raise refused(_missing(path))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise refused(too_large(path.stat().st_size))
    except (OSError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        # The path may be too long, contain a NUL, or not be readable.
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise refused(Fault(path="", problem=problem)) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text ({error.reason} at byte {error.start})"
        raise refused(Fault(path="", problem=problem)) from None
    return parse_source(text, name=str(path))


def _missing(path: Path) -> Fault:
    """The fault of a missing file, with similar names in its folder."""
    if path.exists():
        return Fault(
            path="", problem=f"{'a folder' if path.is_dir() else 'not a regular file'}, not a recipe"
        )
    folder = path.parent if path.parent.is_dir() else Path()
    names = sorted(file.name for file in itertools.islice(folder.glob("*.yaml"), 1_000))
    found = listed(names) or "no .yaml file"
    return Fault(
        path="", problem=f"no such file; {folder.resolve()} has {found}", nearest=nearest(path.name, names)
    )


def parse_source(text: str, *, name: str) -> Source:
    """Parses YAML text; `name` is used in messages. Raises `RecipeError`."""
    composed = compose(text)
    if composed.faults:
        raise RecipeError(composed.faults, source=name)
    if not isinstance(composed.data, dict):
        given = "nothing" if composed.data is None else type(composed.data).__name__
        fault = Fault(path="", problem="a recipe is a mapping of sections", given=given)
        raise RecipeError([fault], source=name)
    return Source(name=name, data=composed.data, root=composed.root)


def dump_yaml(data: Any) -> str:
    """YAML that `parse_source` reads back as equal data; short lists are on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def apply_overrides(source: Source, overrides: Sequence[str]) -> Source:
    """Sets every `key.path=value`, with values parsed as YAML; missing mappings are created.

    Raises `RecipeError` for settings without `=`, and for paths through a plain value or past the end of a list.
    """
    faults: list[Fault] = []
    # Copied through JSON, so that a value repeated by an alias is changed in one place only.
    data = json.loads(json.dumps(source.data))
    given: list[Place] = list(source.overridden)
    values = 0
    for override in overrides:
        try:
            place, more = _apply(data, override)
            given.append(place)
            values += more
            if values > MAX_VALUES:
                raise ValueError(f"the settings together have more than {MAX_VALUES} keys and values")
        except ValueError as error:
            faults.append(Fault(path=f"--set {shortened(override, 100)}", problem=str(error)))
    if faults:
        raise RecipeError(faults, source=source.name)
    return replace(source, data=data, overridden=tuple(given))


def _apply(data: dict[str, Any], override: str) -> tuple[Place, int]:
    """Sets one value; returns its place and its number of keys and values."""
    dotted, equals, text = override.partition("=")
    parts = dotted.strip().split(".")
    if not equals or not all(parts):
        raise ValueError("a setting has the form key.path=value, such as stages.0.distill.epochs=3")
    if len(parts) > MAX_DEPTH or max(map(len, parts)) > MAX_KEY:
        raise ValueError(f"a key path has at most {MAX_DEPTH} parts of at most {MAX_KEY} characters")
    composed = compose(text)
    if composed.faults:
        raise ValueError(f"the value is {composed.faults[0].problem}")
    here: Any = data
    path: Place = ()
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(here, list):
            count = "no entries" if not here else f"entries 0 to {len(here) - 1}"
            if not part.isdecimal() or len(part) > 9 or int(part) >= len(here):
                raise ValueError(f"{path_text(path)} is a list with {count}; given: {part}")
            path += (int(part),)
            if last:
                here[int(part)] = composed.data
            here = here[int(part)]
        elif isinstance(here, dict):
            path += (part,)
            if last:
                here[part] = composed.data
            elif here.get(part) is None:
                here[part] = {}
            here = here[part]
        else:
            raise ValueError(
                f"{path_text(path)} is the value {shortened(repr(here), 60)}, so it has no {part!r}"
            )
    return path, composed.values


def shortened(text: str, length: int) -> str:
    """The text, or its beginning when it is longer."""
    return text if len(text) <= length else text[: length - 3] + "..."

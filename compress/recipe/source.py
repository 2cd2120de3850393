"""Step 1: YAML text to plain data that still knows its line numbers, and `key.path=value` overrides.

The dialect is the JSON-like core of YAML 1.2: only `true` and `false` are booleans, so a class named `no` or
`on` stays text; `1e-3` is a number; dates are text; nothing in a file can run code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from compress.recipe.faults import Fault, RecipeError

Place = tuple[str | int, ...]
"""Keys and list positions from the top of a recipe to one of its values."""

_PATTERNS = {
    "null": r"^(?:~|null|Null|NULL|)$",
    "bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?(?:0|[1-9][0-9]*)$",
    "float": r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
    "merge": r"^<<$",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name for a class-wide table)


class _Dumper(yaml.SafeDumper):
    """Keeps PyYAML's own resolvers beside ours, so that text which either dialect misreads is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern in _PATTERNS.items():
    for _dialect in (_Loader, _Dumper):
        _dialect.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), None)


def path_text(path: Place) -> str:
    """The path as users write it: `stages.0.distill.epochs`."""
    return ".".join(str(part) for part in path)


@dataclass(frozen=True)
class Source:
    """Plain data of a recipe, and where in the file each value stands."""

    name: str
    data: dict[str, Any]
    root: yaml.Node | None = None
    overridden: tuple[Place, ...] = ()

    def line(self, path: Place) -> int | None:
        """Line of the value at `path`, or of what encloses it; None when an override gave it."""
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
    """The data in a YAML file. Raises `RecipeError` for a file that is missing or is not a YAML mapping."""
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        found = ", ".join(sorted(file.name for file in folder.glob("*.yaml"))) or "no .yaml file"
        fault = Fault(path="", problem=f"no such file; {folder.resolve()} has {found}")
        raise RecipeError([fault], source=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        fault = Fault(path="", problem=f"not UTF-8 text ({error.reason} at byte {error.start})")
        raise RecipeError([fault], source=str(path)) from None
    return parse_source(text, name=str(path))


def parse_source(text: str, *, name: str) -> Source:
    """The data in YAML text; `name` is how messages call it. Raises `RecipeError`."""
    data, root, faults = _load(text)
    if faults:
        raise RecipeError(faults, source=name)
    if not isinstance(data, dict):
        given = "nothing" if data is None else type(data).__name__
        fault = Fault(path="", problem="a recipe is a mapping of sections", given=given)
        raise RecipeError([fault], source=name)
    return Source(name=name, data=data, root=root)


def dump_yaml(data: Any) -> str:
    """YAML that `parse_source` reads back as the same data; short lists stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def apply_overrides(source: Source, overrides: Sequence[str]) -> Source:
    """The source with every `key.path=value` set, values read as YAML; missing mappings are made on the way.

    Raises `RecipeError` for settings that have no `=`, or lead through a plain value or past a list's end.
    """
    faults: list[Fault] = []
    # Through JSON, so that a value which the file repeats by an alias is changed in one place only.
    data = json.loads(json.dumps(source.data))
    given: list[Place] = list(source.overridden)
    for override in overrides:
        try:
            given.append(_apply(data, override))
        except ValueError as error:
            faults.append(Fault(path=f"--set {override}", problem=str(error)))
    if faults:
        raise RecipeError(faults, source=source.name)
    return replace(source, data=data, overridden=tuple(given))


def _apply(data: dict[str, Any], override: str) -> Place:
    dotted, equals, text = override.partition("=")
    parts = dotted.strip().split(".")
    if not equals or not all(parts):
        raise ValueError("a setting reads key.path=value, such as stages.0.distill.epochs=3")
    value, _, faults = _load(text)
    if faults:
        raise ValueError(f"the value is {faults[0].problem}")
    here: Any = data
    path: Place = ()
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(here, list):
            if not part.isdecimal() or int(part) >= len(here):
                count = "no entries" if not here else f"entries 0 to {len(here) - 1}"
                raise ValueError(f"{path_text(path)} is a list with {count}; given: {part}")
            path += (int(part),)
            if last:
                here[int(part)] = value
            here = here[int(part)]
        elif isinstance(here, dict):
            path += (part,)
            if last:
                here[part] = value
            elif here.get(part) is None:
                here[part] = {}
            here = here[part]
        else:
            raise ValueError(f"{path_text(path)} is the value {here!r}, so it has no {part!r}")
    return path


def _load(text: str) -> tuple[Any, yaml.Node | None, list[Fault]]:
    """The data in YAML text and its nodes, or what is wrong with it."""
    try:
        root = yaml.compose(text, _Loader)
        faults = _node_faults(root)
        return (None if faults else yaml.load(text, _Loader)), root, faults
    except yaml.YAMLError as error:
        return None, None, [_yaml_fault(error)]
    except RecursionError:
        return None, None, [Fault(path="", problem="nested too deeply")]


def _node_faults(node: yaml.Node | None) -> list[Fault]:
    """What PyYAML takes and a recipe does not: keys given twice, keys that are not text, values that contain
    themselves, numbers beyond floating point."""
    faults: list[Fault] = []
    done: set[int] = set()

    def visit(node: yaml.Node, path: Place, above: tuple[int, ...]) -> None:
        if id(node) in above:
            text = path_text(path)
            faults.append(Fault(path=text, problem="contains itself", line=node.start_mark.line + 1))
        if id(node) in done:
            return
        done.add(id(node))
        above = (*above, id(node))
        problem = _tag_problem(node)
        if problem:
            line = node.start_mark.line + 1
            faults.append(Fault(path=path_text(path), problem=problem, given=str(node.value), line=line))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                visit(value, (*path, index), above)
        elif isinstance(node, yaml.MappingNode):
            first_lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                    problem = "a key must be text; put it in quotes"
                    given = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                    faults.append(Fault(path=path_text(path), problem=problem, given=given, line=line))
                    continue
                inside = (*path, key.value)
                if key.value in first_lines:
                    problem = f"key given twice, first in line {first_lines[key.value]}"
                    faults.append(Fault(path=path_text(inside), problem=problem, line=line))
                first_lines.setdefault(key.value, line)
                visit(value, inside, above)

    if node is not None:
        visit(node, (), ())
    return faults


def _tag_problem(node: yaml.Node) -> str | None:
    """What is wrong with the type that a value has, or claims to have by a tag such as `!!int`."""
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind not in ("str", "seq", "map", *_PATTERNS):
        return f"the tag {node.tag} is not allowed"
    if kind in _PATTERNS and not re.match(_PATTERNS[kind], node.value):
        return f"not written as !!{kind}"
    return "too large a number" if kind == "float" and math.isinf(float(node.value)) else None


def _yaml_fault(error: yaml.YAMLError) -> Fault:
    problem = f"not valid YAML: {getattr(error, 'problem', None) or error}"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Fault(path="", problem=problem)
    return Fault(path="", problem=f"{problem}, at column {mark.column + 1}", line=mark.line + 1)

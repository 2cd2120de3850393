"""Step 1a: parses YAML text to plain data and nodes, within limits that apply during parsing.

Short aliases can expand to any amount of data, and brackets can nest deeply. Limits therefore apply to the
expanded data: every alias counts as much as its anchor. Parsing stops at a limit, in time and memory proportional
to the limit.

The dialect is the JSON-like core of YAML 1.2: only `true` and `false` are booleans, so a class named `no` or
`on` stays text; `1e-3` is a number; dates are text; nothing in a file can run code.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from compress.recipe.faults import MAX_SHOWN, Fault

Place = tuple[str | int, ...]
"""Path of keys and list indices to a value of a recipe."""

MAX_BYTES = 1_000_000
"""Largest size of a file, or of the value of one `--set`."""
MAX_VALUES = 20_000
"""Largest number of keys and values, with aliases expanded."""
MAX_CHARACTERS = 2_000_000
"""Largest total length of keys and values, with aliases expanded."""
MAX_DEPTH = 24
"""Nesting depth of lists and mappings."""
MAX_KEY, MAX_TEXT, MAX_NUMBER = 200, 10_000, 100
"""Largest length of a key, of a text, and of a number."""
_LARGEST_INT = 2**63 - 1

PATTERNS = {
    "null": r"^(?:~|null|Null|NULL|)$",
    "bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"^[-+]?(?:0|[1-9][0-9]*)$",
    "float": r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
    "merge": r"^<<$",
}
"""Patterns of plain scalars by type; a scalar that matches none is text."""
_TAG = "tag:yaml.org,2002:"
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML 1.2, section 5.1, does not allow."""
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def path_text(path: Place) -> str:
    """The path as users write it: `stages.0.distill.epochs`."""
    return ".".join(str(part) for part in path)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The data of a YAML text, or its faults."""

    data: Any = None
    root: yaml.Node | None = None
    faults: tuple[Fault, ...] = ()
    values: int = 0
    """Number of keys and values in `data`."""


def compose(text: str) -> Composed:
    """Parses a YAML text to data with nodes, or to faults."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        return _broken(too_large(size))
    strange = _UNPRINTABLE.search(text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        problem = f"the character U+{ord(strange[0]):04X} is not allowed in YAML"
        return _broken(Fault(path="", problem=problem, line=line))
    composer = _Composer()
    try:
        for event in yaml.parse(text, _PARSER):
            composer.take(event)
    except _TooMuch as error:
        return _broken(*composer.faults, error.fault)
    except yaml.YAMLError as error:
        return _broken(_yaml_fault(error))
    if composer.faults:
        return _broken(*composer.faults)
    return Composed(data=composer.data, root=composer.root, values=composer.values)


def too_large(size_bytes: int) -> Fault:
    """The fault of a file or value that is too large."""
    return Fault(
        path="",
        problem="too large for a recipe",
        given=f"{size_bytes} bytes",
        allowed=f"at most {MAX_BYTES} bytes",
    )


def _broken(*faults: Fault) -> Composed:
    return Composed(faults=faults)


class _TooMuch(Exception):
    """Stops parsing at a limit."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(kw_only=True)
class _Whole:
    """A complete value and its expanded size."""

    node: yaml.Node
    data: Any
    values: int
    characters: int
    height: int
    """Nesting depth; 0 for a scalar."""


@dataclass(kw_only=True)
class _Open:
    """An unfinished list or mapping."""

    node: Any
    anchor: str | None
    place: Place
    data: Any
    values: int = 1
    characters: int = 0
    height: int = 0
    key: _Whole | None = None
    lines: dict[str, int] = field(default_factory=dict)
    """Line of every key of a mapping."""
    merged: list[Any] = field(default_factory=list)
    """Mappings merged by `<<`."""


class _Composer:
    """Builds nodes and data from PyYAML's events, one at a time, and enforces the limits."""

    def __init__(self) -> None:
        self.data: Any = None
        self.root: yaml.Node | None = None
        self.faults: list[Fault] = []
        self.values = 0
        self.characters = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Whole | None] = {}
        self._documents = 0

    def take(self, event: Any) -> None:
        """Processes the next event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop("a second document starts (---); a recipe is one document", event)
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._end()

    def _begin(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        kind = yaml.MappingNode if mapping else yaml.SequenceNode
        tag = event.tag if event.tag not in (None, "!") else _TAG + ("map" if mapping else "seq")
        node = kind(tag, [], event.start_mark, event.end_mark)
        place = self._place()
        if tag != _TAG + ("map" if mapping else "seq"):
            self._fault(f"the tag {_short(tag)} is not allowed", event, place=place)
        self._count(1, 0, event)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(node=node, anchor=event.anchor, place=place, data={} if mapping else []))
        self._check_depth(0, event)

    def _end(self) -> None:
        done = self._open.pop()
        if done.merged:
            # Own keys take precedence over merged ones, and earlier merges over later ones.
            merged: dict[str, Any] = {}
            for one in reversed(done.merged):
                merged.update(one)
            done.data = {**merged, **done.data}
        whole = _Whole(
            node=done.node,
            data=done.data,
            values=done.values,
            characters=done.characters,
            height=done.height + 1,
        )
        self._add(whole, done.anchor)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            self._stop(f"the alias *{_short(event.anchor)} has no anchor before it", event)
        whole = self._anchors[event.anchor]
        if whole is None:
            self._stop("contains itself", event, place=self._place())
        assert whole is not None
        self._count(whole.values, whole.characters, event)
        self._check_depth(whole.height, event)
        self._add(whole, None)

    def _add(self, whole: _Whole, anchor: str | None) -> None:
        """Adds a complete value to its parent."""
        if anchor:
            self._anchors[anchor] = whole
        if not self._open:
            self.root, self.data = whole.node, whole.data
            return
        into = self._open[-1]
        into.values += whole.values
        into.characters += whole.characters
        into.height = max(into.height, whole.height)
        if isinstance(into.data, list):
            into.node.value.append(whole.node)
            into.data.append(whole.data)
        elif into.key is None:
            into.key = whole
        else:
            self._pair(into, into.key, whole)
            into.key = None

    def _pair(self, into: _Open, key: _Whole, value: _Whole) -> None:
        """Adds a key with its value to a mapping."""
        into.node.value.append((key.node, value.node))
        line = key.node.start_mark.line + 1
        if key.node.tag == _TAG + "merge":
            for one in value.data if isinstance(value.data, list) else [value.data]:
                if isinstance(one, dict):
                    into.merged.append(one)
                else:
                    self._fault("<< merges a mapping, or a list of mappings", key.node, place=into.place)
            return
        if key.node.tag != _TAG + "str":
            given = _short(key.node.value) if isinstance(key.node, yaml.ScalarNode) else "a list or a mapping"
            problem = "a key must be text; put it in quotes"
            self._fault(problem, key.node, place=into.place, given=given)
            return
        if len(key.data) > MAX_KEY:
            problem, allowed = "a key is too long", f"at most {MAX_KEY} characters"
            self._fault(problem, key.node, place=into.place, given=_short(key.data), allowed=allowed)
            return
        if key.data in into.lines:
            problem = f"key given twice, first in line {into.lines[key.data]}"
            self._fault(problem, key.node, place=(*into.place, key.data))
        into.lines.setdefault(key.data, line)
        into.data[key.data] = value.data

    def _scalar(self, event: Any) -> _Whole:
        text: str = event.value
        self._count(1, len(text), event)
        tag, given = _TAG + "str", event.tag
        if given not in (None, "!"):
            tag = given
        elif event.implicit[0] and given is None:
            kinds = (kind for kind, pattern in PATTERNS.items() if re.match(pattern, text))
            tag = _TAG + next(kinds, "str")
        node = yaml.ScalarNode(tag, text, event.start_mark, event.end_mark, style=event.style)
        problem, data = _value(tag, text)
        if problem:
            self._fault(problem, node, place=self._place(), given=_short(text))
        return _Whole(node=node, data=data, values=1, characters=len(text), height=0)

    def _place(self) -> Place:
        """Place of the next value."""
        if not self._open:
            return ()
        into = self._open[-1]
        if isinstance(into.data, list):
            return (*into.place, len(into.data))
        if into.key is not None and isinstance(into.key.data, str):
            return (*into.place, into.key.data[:MAX_KEY])
        return into.place

    def _count(self, values: int, characters: int, event: Any) -> None:
        self.values += values
        self.characters += characters
        if self.values > MAX_VALUES:
            self._stop(
                "too many keys and values for a recipe, with aliases expanded",
                event,
                allowed=f"at most {MAX_VALUES}",
            )
        if self.characters > MAX_CHARACTERS:
            self._stop(
                "too much text for a recipe, with aliases expanded",
                event,
                allowed=f"at most {MAX_CHARACTERS} characters",
            )

    def _check_depth(self, height: int, event: Any) -> None:
        if len(self._open) + height > MAX_DEPTH:
            allowed = f"at most {MAX_DEPTH} lists and mappings inside each other"
            self._stop("nested too deeply", event, allowed=allowed)

    def _fault(self, problem: str, at: Any, *, place: Place, **more: str) -> None:
        if len(self.faults) >= MAX_SHOWN:
            self._stop("more faults follow", at)
        line = at.start_mark.line + 1
        self.faults.append(Fault(path=path_text(place), problem=problem, line=line, **more))

    def _stop(self, problem: str, at: Any, *, place: Place = (), allowed: str | None = None) -> None:
        line = at.start_mark.line + 1
        raise _TooMuch(Fault(path=path_text(place), problem=problem, allowed=allowed, line=line))


def _value(tag: str, text: str) -> tuple[str | None, Any]:
    """The fault, if any, and the value of a scalar with an implicit type or a tag such as `!!int`."""
    kind = tag.removeprefix(_TAG) if tag.startswith(_TAG) else ""
    if kind == "str":
        if len(text) > MAX_TEXT:
            return f"text of more than {MAX_TEXT} characters", None
        strange = _UNPRINTABLE.search(text)
        return (
            f"the character U+{ord(strange[0]):04X} is not allowed in a recipe" if strange else None
        ), text
    if kind not in PATTERNS:
        return f"the tag {_short(tag)} is not allowed", None
    if not re.match(PATTERNS[kind], text):
        return f"not written as !!{kind}", None
    if kind == "bool":
        return None, text.lower() == "true"
    if kind == "int":
        # Check the length first: Python is slow for long numbers and refuses the longest.
        if len(text) > MAX_NUMBER or abs(int(text)) > _LARGEST_INT:
            return f"too large a number; the largest whole number is {_LARGEST_INT}", None
        return None, int(text)
    if kind == "float":
        if len(text) > MAX_NUMBER:
            return f"a number of more than {MAX_NUMBER} characters", None
        return ("too large a number", None) if math.isinf(float(text)) else (None, float(text))
    return None, None if kind == "null" else text


def _short(text: str) -> str:
    """The beginning of a text, on one line."""
    line = text.replace("\n", " ")
    return line if len(line) <= 60 else line[:57] + "..."


def _yaml_fault(error: yaml.YAMLError) -> Fault:
    problem = f"not valid YAML: {getattr(error, 'problem', None) or error}"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Fault(path="", problem=problem)
    return Fault(path="", problem=f"{problem}, at column {mark.column + 1}", line=mark.line + 1)

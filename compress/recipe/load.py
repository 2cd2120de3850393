"""Loads a `Recipe` from a file: reads it, validates each part, then validates across parts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from compress.gates import GateConfig
from compress.limits import MAX_TEACHERS
from compress.recipe.checks import check
from compress.recipe.faults import MAX_SHOWN, Fault, RecipeError, listed, nearest
from compress.recipe.parts import Parts
from compress.recipe.renamed import renamed_to
from compress.recipe.sections import (
    DATA_ROWS,
    MAX_GATES,
    MAX_STAGES,
    NAME_PATTERN,
    STAGE_ROWS,
    STUDENT_ROWS,
    TEACHER_ROWS,
    Recipe,
    StageEntry,
    for_target,
    schemes_of,
)
from compress.recipe.source import Place, Source, apply_overrides, parse_source, path_text, read_source
from compress.recipe.translate import faults_of
from compress.recipe.wording import (
    A_LIST,
    NOT_A_STAGE,
    ONE_VERB,
    OTHER_ORIGINS,
    TWO_ORIGINS,
    missing_key,
    shown,
    wrong_type,
)


def load_recipe(path: Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """The validated recipe in the YAML file `path`, after applying the `key.path=value` settings in `overrides`.

    Raises `RecipeError` with all faults. Computes nothing and opens no clip. For a teacher with a `factory`,
    imports its module, which runs its Python code.
    """
    # File names are decoded as UTF-8, whatever the locale is.
    name = os.fsencode(path.stem).decode("utf-8", errors="replace")
    return _recipe(apply_overrides(read_source(path), overrides), name=name)


def parse_recipe(text: str, *, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The validated recipe in YAML text, as `load_recipe` reads it from `<name>.yaml`."""
    return _recipe(apply_overrides(parse_source(text, name=name), overrides), name=name)


def _recipe(source: Source, *, name: str) -> Recipe:
    raw = {"name": name, **source.data}
    reader = _Reader(source)
    if "name" not in source.data and not re.fullmatch(NAME_PATTERN, name):
        problem = "the recipe's file name cannot be the run's name; set one, such as --set name=first"
        reader.fault(("name",), problem, given=shown(name), allowed=NAME_PATTERN)
        raw["name"] = "unnamed"
    parts = reader.parts(raw)
    faults = reader.faults + check(parts, line=source.line)
    if faults:
        in_reading_order = sorted(faults, key=lambda fault: fault.line or 0)
        raise RecipeError(in_reading_order, source=source.name)
    stages = tuple(entry for entry in parts.stages if entry)
    export = parts.sections["export"]
    parts.sections["export"] = export.model_copy(update={"schemes": schemes_of(export, stages)})
    stages = tuple(for_target(entry, export.target) for entry in stages)
    return Recipe(**parts.sections, stages=stages, gates=tuple(gate for gate in parts.gates if gate))


class _Reader:
    """Validates the parts of one recipe and collects their faults."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Fault] = []

    def parts(self, raw: Mapping[str, Any]) -> Parts:
        """The valid parts; missing parts have their defaults."""
        known = Recipe.model_fields
        for key in raw:
            moved = None if key in known else renamed_to((key,))
            if moved is not None:
                self.fault((key,), moved)
            elif key not in known:
                # With hundreds of unknown keys, suggestions are not useful.
                close = nearest(key, known) if len(self.faults) < MAX_SHOWN else None
                self.fault((key,), "unknown section", allowed=listed(known), nearest=close)
        sections: dict[str, Any] = {}
        for key, field in known.items():
            if key in ("stages", "gates"):
                continue
            if key in raw:
                sections.update(self._section(key, raw[key]))
            elif field.is_required():
                self.fault((key,), missing_key(field.description or "", section=True))
            else:
                sections[key] = field.get_default(call_default_factory=True)
        return Parts(
            sections=sections,
            verbs=self._verbs(raw.get("stages")),
            stages=[self._stage(index, entry) for index, entry in self._entries(raw, "stages")],
            gates=[
                self._read(("gates", index), gate, GateConfig) for index, gate in self._entries(raw, "gates")
            ],
        )

    def _section(self, key: str, raw: Any) -> dict[str, Any]:
        """The validated section under its key; empty if it has faults."""
        if key == "teacher" and raw is None:
            return {key: None}
        if key == "teachers":
            return self._teachers(raw)
        if key == "data":
            kind: Any = self._row((key,), raw, by="source", rows=DATA_ROWS)
        elif key == "student":
            kind = self._network((key,), raw, rows=STUDENT_ROWS)
        elif key == "teacher":
            kind = self._network((key,), raw, rows=TEACHER_ROWS)
        else:
            field = Recipe.model_fields[key]
            kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        value = None if kind is None else self._read((key,), raw, kind)
        return {} if value is None else {key: value}

    def _teachers(self, raw: Any) -> dict[str, Any]:
        """The validated list of teachers; empty if it has faults."""
        if not isinstance(raw, list):
            self.fault(("teachers",), **wrong_type(raw, A_LIST)._asdict())
            return {}
        if raw and not 2 <= len(raw) <= MAX_TEACHERS:
            allowed = f"2 to {MAX_TEACHERS}; for one, use the section teacher"
            self.fault(("teachers",), "wrong number of entries", given=str(len(raw)), allowed=allowed)
            return {}
        found = []
        for index, one in enumerate(raw):
            place: Place = ("teachers", index)
            kind = self._network(place, one, rows=TEACHER_ROWS)
            found.append(None if kind is None else self._read(place, one, kind))
        return {} if None in found else {"teachers": tuple(found)}

    def _network(self, place: Place, raw: Any, *, rows: Mapping[str, type]) -> type | None:
        """The row of a network of ours, or that of the key `factory`, `file` or `from`."""
        others = [name for name in OTHER_ORIGINS if name in rows]
        given = [name for name in ("network", *others) if isinstance(raw, dict) and name in raw]
        if len(given) > 1:
            self.fault(place, TWO_ORIGINS, given=listed(given))
            return None
        if given and given[0] in others:
            return rows[given[0]]
        ours = {name: row for name, row in rows.items() if name not in others}
        return self._row(place, raw, by="network", rows=ours)

    def _row(self, place: Place, raw: Any, *, by: str, rows: Mapping[str, type]) -> type | None:
        """The row of a table selected by the value of the key `by`."""
        if not isinstance(raw, dict):
            allowed = f"a mapping with the key {by} and its settings"
            self.fault(place, "wrong type", given=shown(raw), allowed=allowed)
        elif by not in raw:
            self.fault((*place, by), missing_key(""), allowed=listed(rows))
        elif raw[by] not in list(rows):
            given, close = shown(raw[by]), nearest(str(raw[by]), rows)
            self.fault((*place, by), f"unknown {by}", given=given, allowed=listed(rows), nearest=close)
        else:
            return rows[raw[by]]
        return None

    def _entries(self, raw: Mapping[str, Any], key: str) -> list[tuple[int, Any]]:
        entries = raw.get(key, [])
        if not isinstance(entries, list):
            self.fault((key,), **wrong_type(entries, A_LIST)._asdict())
            return []
        most = {"stages": MAX_STAGES, "gates": MAX_GATES}[key]
        if len(entries) > most:
            given, allowed = f"{len(entries)} entries", f"at most {most}"
            self.fault((key,), "wrong number of entries", given=given, allowed=allowed)
        return list(enumerate(entries[:most]))

    def _verbs(self, entries: Any) -> list[str | None]:
        """The verb of every stage, also with invalid settings."""
        rows = entries[:MAX_STAGES] if isinstance(entries, list) else []
        return [next(iter(row)) if isinstance(row, dict) and len(row) == 1 else None for row in rows]

    def _stage(self, index: int, raw: Any) -> StageEntry | None:
        place: Place = ("stages", index)
        if not isinstance(raw, dict) or len(raw) != 1:
            self.fault(place, NOT_A_STAGE, given=shown(raw), allowed=ONE_VERB)
            return None
        verb = next(iter(raw))
        if verb not in STAGE_ROWS:
            close = nearest(verb, STAGE_ROWS)
            self.fault((*place, verb), "unknown stage", allowed=listed(STAGE_ROWS), nearest=close)
            return None
        entry: StageEntry | None = self._read(place, raw, STAGE_ROWS[verb])
        return entry

    def _read(self, place: Place, raw: Any, kind: Any) -> Any:
        """Validates the value as a `kind`; adds faults and returns None if it is invalid."""
        try:
            # Strict JSON mode matches YAML: lists become tuples and text becomes paths, but "3" is not a number.
            return TypeAdapter(kind).validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            self.faults += faults_of(error, model=kind, place=place, raw=raw, source=self.source)
            return None

    def fault(self, place: Place, problem: str, **more: str | None) -> None:
        self.faults.append(
            Fault(path=path_text(place), problem=problem, line=self.source.line(place), **more)
        )

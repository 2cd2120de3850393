"""Step 3: translates pydantic's errors to faults with paths, keys and suggestions of the recipe."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from compress.recipe.faults import Fault, listed, nearest
from compress.recipe.renamed import is_given_by_old_name, renamed_to
from compress.recipe.source import Place, Source, path_text
from compress.recipe.wording import (
    CHOICE,
    MAPPING,
    missing_key,
    not_a_choice,
    not_well_formed,
    out_of_range,
    shown,
    wrong_length,
    wrong_number_of_entries,
    wrong_type,
)

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_parsing": "true or false",
    "dict_type": MAPPING,
    "mapping_type": MAPPING,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "dataclass_type": MAPPING,
    "path_type": "a path",
    "none_required": "null",
    "finite_number": "a finite number",
}
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_MOST = 40
"""Largest number of faults of one section that are listed."""
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING_KEY = ("missing", "missing_argument", "missing_keyword_only_argument")


def faults_of(error: ValidationError, *, model: type, place: Place, raw: Any, source: Source) -> list[Fault]:
    """One fault per place in `error`. `raw` at `place` was validated as a `model`."""
    faults: dict[Place, Fault] = {}
    details = list(itertools.islice(error.errors(include_url=False), _MOST))
    for detail in details:
        if detail["type"] == "too_short" and any(
            len(other["loc"]) > len(detail["loc"]) and other["loc"][: len(detail["loc"])] == detail["loc"]
            for other in details
        ):
            continue  # Pydantic does not count invalid entries.
        inside = _inside(detail["loc"], raw, missing=detail["type"] in _MISSING_KEY)
        beside = detail["input"] if isinstance(detail["input"], dict) else {}
        if detail["type"] in _MISSING_KEY and is_given_by_old_name(place + inside, beside):
            continue
        if detail["type"] == "missing" and isinstance(detail["input"], list):  # one detail per missing entry
            faults[inside] = Fault(
                path=path_text(place + inside),
                **wrong_number_of_entries(detail["input"], "least", int(detail["loc"][-1]) + 1)._asdict(),
                line=source.line(place + inside),
            )
            continue
        fault = _fault(detail, model=model, place=place, inside=inside, source=source)
        earlier = faults.get(inside)
        if earlier and earlier.allowed and fault.allowed and fault.allowed not in earlier.allowed:
            fault = dataclasses.replace(earlier, allowed=f"{earlier.allowed}, or {fault.allowed}")
        faults[inside] = fault
    if error.error_count() > _MOST:
        problem = f"{error.error_count() - _MOST} more faults in this section"
        faults[(*place, "...")] = Fault(path=path_text(place), problem=problem, line=source.line(place))
    return list(faults.values())


def keys_of(model: type) -> list[str]:
    """Names of the keys of a pydantic model or a dataclass."""
    if issubclass(model, BaseModel):
        return list(model.model_fields)
    return [field.name for field in dataclasses.fields(model)] if dataclasses.is_dataclass(model) else []


def _inside(loc: Sequence[Any], raw: Any, *, missing: bool) -> Place:
    """Pydantic's location without the names of union members between the keys."""
    place: Place = ()
    for position, part in enumerate(loc):
        if (isinstance(raw, dict) and part in raw) or (
            isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        ):
            raw = raw[part]
        elif isinstance(raw, list) or not (missing and position == len(loc) - 1):
            continue
        place += (part,)
    return place


def _fault(detail: Any, *, model: type, place: Place, inside: Place, source: Source) -> Fault:
    kind, context = detail["type"], detail.get("ctx", {})
    path, line = path_text(place + inside), source.line(place + inside)
    given: str | None = shown(detail["input"])
    if kind in _UNKNOWN_KEY:
        moved = renamed_to(place + inside)
        if moved is not None:
            return Fault(path=path, problem=moved, line=line)
        owners = _models_at(model, inside[:-1])
        # For a discriminated union, pydantic reports the selected member.
        owners = [owner for owner in owners if owner.__name__ in detail["loc"]] or owners
        allowed = list(dict.fromkeys(key for owner in owners for key in keys_of(owner)))
        close = nearest(str(inside[-1]), allowed)
        return Fault(path=path, problem="unknown key", allowed=listed(allowed), nearest=close, line=line)
    if kind in _MISSING_KEY:
        about = next((_description(owner, str(inside[-1])) for owner in _models_at(model, inside[:-1])), "")
        return Fault(path=path, problem=missing_key(about), line=line)
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        close = nearest(str(detail["input"]), words)
        return Fault(
            path=path,
            problem=not_a_choice(detail["input"], place + inside),
            given=given,
            allowed=listed(words),
            nearest=close,
            line=line,
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_choice(detail["input"], context, owners=_models_at(model, inside), path=path, line=line)
    if kind in _WANTED:
        return Fault(path=path, line=line, **wrong_type(detail["input"], _WANTED[kind])._asdict())
    if kind in _LIMITS:
        key, words_before = _LIMITS[kind]
        beyond = out_of_range(detail["input"], words_before, context[key])
        return Fault(path=path, line=line, **beyond._asdict())
    if kind == "string_pattern_mismatch":
        odd = not_well_formed(detail["input"], context["pattern"])
        return Fault(path=path, line=line, **odd._asdict())
    if kind in ("string_too_short", "string_too_long"):
        which = "least" if kind == "string_too_short" else "most"
        length = context["min_length" if which == "least" else "max_length"]
        return Fault(path=path, line=line, **wrong_length(detail["input"], which, length)._asdict())
    if kind in ("too_short", "too_long"):
        which = "least" if kind == "too_short" else "most"
        number = context["min_length" if which == "least" else "max_length"]
        entries = wrong_number_of_entries(detail["input"], which, number)
        return Fault(path=path, line=line, **entries._asdict())
    problem = str(context["error"]) if kind == "value_error" else detail["msg"]
    return Fault(path=path, problem=problem, given=given, line=line)


def _wrong_choice(given: Any, context: Any, *, owners: Sequence[type], path: str, line: int | None) -> Fault:
    """The fault of a discriminated union whose key is missing or has an unknown value."""
    key = context["discriminator"].strip("'")
    choices = [owner.__name__ for owner in owners]
    path = f"{path}.{key}"
    if key not in given:
        return Fault(path=path, problem=missing_key(""), allowed=listed(choices), line=line)
    return Fault(
        path=path,
        problem=CHOICE,
        given=shown(given[key]),
        allowed=listed(choices),
        nearest=nearest(str(given[key]), choices),
        line=line,
    )


def _models_at(model: Any, inside: Place) -> list[type]:
    """The models of the keys at `inside`; several for a union."""
    owners = list(_models_in(model))
    for part in inside:
        if isinstance(part, str):
            owners = [inner for owner in owners for inner in _models_in(_annotation(owner, part))]
    return owners


def _annotation(owner: type, key: str) -> Any:
    if issubclass(owner, BaseModel):
        field = owner.model_fields.get(key)
        return field.annotation if field else None
    return get_type_hints(owner).get(key)


def _models_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and _has_keys(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _has_keys(annotation: type) -> bool:
    return issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)


def _description(owner: type, key: str) -> str:
    if not issubclass(owner, BaseModel):
        return ""
    return owner.model_fields[key].description or ""

"""Messages for faults of values, shared by all checks."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from export import NOT_OFFERED


class Wrong(NamedTuple):
    """The problem of a value, the given and the allowed value."""

    problem: str
    given: str
    allowed: str


def shown(value: Any) -> str:
    """A value in the notation of a recipe, truncated."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def wrong_type(value: Any, wanted: str) -> Wrong:
    """The fault of a value with another type than `wanted`."""
    if wanted == "text" and isinstance(value, int | float):
        wanted += " (put it in quotes)"
    return Wrong("wrong type", shown(value), wanted)


def out_of_range(value: Any, words: str, limit: float) -> Wrong:
    """The fault of a number beyond a limit; `words` are such as `at least`."""
    # Pydantic gives the limit 0 of a fraction as 0.0.
    whole = isinstance(limit, float) and limit.is_integer()
    return Wrong("out of range", shown(value), f"{words} {json.dumps(int(limit) if whole else limit)}")


def wrong_length(value: Any, which: str, length: int) -> Wrong:
    """The fault of a text that is too short (`which` is `least`) or too long (`most`)."""
    return Wrong("wrong length", shown(value), f"at {which} {length} character{'s' * (length != 1)}")


def wrong_number_of_entries(value: Any, which: str, number: int) -> Wrong:
    """The fault of a list with too few (`which` is `least`) or too many (`most`) entries."""
    return Wrong("wrong number of entries", shown(value), f"at {which} {number}")


def not_well_formed(value: Any, pattern: str) -> Wrong:
    """The fault of a text that does not match a pattern."""
    return Wrong("not well formed", shown(value), pattern)


def missing_key(about: str, *, section: bool = False) -> str:
    """The message for a missing required key; `about` describes it."""
    what = "required section is missing" if section else "required key is missing"
    about = about.rstrip(".")
    return f"{what} ({about})" if about else what


CHOICE = "not one of the choices"


def not_a_choice(value: Any, place: tuple[Any, ...]) -> str:
    """The problem of a value that is none of the choices; for a scheme that no format supports, with the reason."""
    about_schemes = any(part in ("scheme", "schemes") for part in place)
    reason = NOT_OFFERED.get(str(value)) if about_schemes else None
    return CHOICE if reason is None else f"{CHOICE}: {reason}"


NOT_A_STAGE = "not a stage"
ONE_VERB = "one verb with its settings, such as `- quantize: {method: ptq}`; one entry for each verb"
OTHER_ORIGINS = ("factory", "file", "from")
"""Keys that replace `network` in the sections of teacher and student."""
TWO_ORIGINS = "the network has more than one origin; keep one of these keys"
A_LIST = "a list, such as [] for none"
MAPPING = "a mapping of keys"


def no_such_file(path: str) -> str:
    """The message for an absolute path that does not exist."""
    return f"no such file or folder: {path}"

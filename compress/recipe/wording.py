"""The words in which faults of values are told, whoever finds them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Wrong(NamedTuple):
    """What is wrong with a value, what was given, and what is allowed."""

    problem: str
    given: str
    allowed: str


def shown(value: Any) -> str:
    """A value as the recipe writes it, cut to a readable length."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def wrong_type(value: Any, wanted: str) -> Wrong:
    """A value of another type than `wanted`, in words."""
    if wanted == "text" and isinstance(value, int | float):
        wanted += " (put it in quotes)"
    return Wrong("wrong type", shown(value), wanted)


def out_of_range(value: Any, words: str, limit: float) -> Wrong:
    """A number beyond a limit; `words` are such as `at least`."""
    return Wrong("out of range", shown(value), f"{words} {json.dumps(limit)}")


def wrong_length(value: Any, which: str, length: int) -> Wrong:
    """A text with less than the `least`, or more than the `most` characters (`which`)."""
    return Wrong("wrong length", shown(value), f"at {which} {length} character{'s' * (length != 1)}")


def wrong_number_of_entries(value: Any, which: str, number: int) -> Wrong:
    """A list with less than the `least`, or more than the `most` entries (`which`)."""
    return Wrong("wrong number of entries", shown(value), f"at {which} {number}")


def not_well_formed(value: Any, pattern: str) -> Wrong:
    """A text that a pattern does not match."""
    return Wrong("not well formed", shown(value), pattern)


def missing_key(about: str, *, section: bool = False) -> str:
    """The problem of a key that has to be given; `about` describes it."""
    what = "required section is missing" if section else "required key is missing"
    about = about.rstrip(".")
    return f"{what} ({about})" if about else what


CHOICE = "not one of the choices"
NOT_A_STAGE = "not a stage"
ONE_VERB = "one verb with its settings, such as `- quantize: {mode: ptq}`; one entry for each verb"
TWO_TEACHERS = "either a network of ours or a factory of yours; remove one of the two keys"
A_LIST = "a list, such as [] for none"
MAPPING = "a mapping of keys"


def no_such_file(path: str) -> str:
    """The problem of a path, absolute, that leads nowhere."""
    return f"no such file or folder: {path}"

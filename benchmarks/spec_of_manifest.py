"""Reads the spec of a manifest and validates every type and number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.spec import ClipSpec

_MOST = 2**27
"""Largest number of elements of an input, as in `export.capture.inputs`; no number of a spec is larger."""
_LARGEST_RESIZE = 4_096
"""Largest short side of a frame in pixels, as in recipes."""


def spec_of_manifest(data: Mapping[str, Any]) -> ClipSpec:
    """The spec written by `ClipSpec.to_dict`. Raises TypeError for a field of another type or an invalid value."""
    ClipSpec.from_dict(data)  # refuses unknown fields, such as those of a later version
    try:
        spec = TypeAdapter(ClipSpec).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise TypeError(f"spec.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for fault in _faults(spec):
        raise TypeError(f"spec.{fault}")
    return spec


def _faults(spec: ClipSpec) -> Iterator[str]:
    for name, part in (("video", spec.video), ("audio", spec.audio), ("text", spec.text)):
        for field, value in asdict(part).items() if part is not None else ():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, int) and not 1 <= one <= _MOST:
                    yield f"{name}.{field} is {one}, not in 1..{_MOST}"
                if isinstance(one, float) and not (math.isfinite(one) and (one > 0 or field != "std")):
                    yield f"{name}.{field} is {one}"
    if spec.video is not None and not spec.video.size <= spec.video.resize <= _LARGEST_RESIZE:
        yield f"video.resize is {spec.video.resize}, not in {spec.video.size}..{_LARGEST_RESIZE}"
    for name in spec.inputs:
        if math.prod(spec.shape(name)) > _MOST:
            yield f"input {name!r} has more than {_MOST} elements"
    names = [label.name for label in spec.labels]
    if (
        not spec.inputs
        or not names
        or len(set(names)) < len(names)
        or not all(x.classes for x in spec.labels)
    ):
        yield "it needs an input, and label columns with distinct names and classes"

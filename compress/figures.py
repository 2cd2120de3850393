"""Formats figures for readers: points, sizes, times and counts with units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured"


def name_of(file: Mapping[str, Any]) -> str:
    """Short name of a file of the report, such as `onnx.w8a8`."""
    return f"{file['format']}.{file['scheme']}"


def is_measured(value: Any) -> bool:
    """Whether the value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def drop_pp(before: Any, after: Any) -> float | None:
    """Points lost from top-1 `before` to `after` (both 0..1); negative for a gain, None if either is missing."""
    return 100.0 * (before - after) if is_measured(before) and is_measured(after) else None


def percent(share: float | None) -> str:
    """A share 0..1 as `96.1 %`."""
    return NOT_MEASURED if share is None else f"{100 * share:.1f} %"


def points(drop_pp: float | None) -> str:
    """A drop in percentage points as a change: `−0.4` for a drop of 0.4."""
    if drop_pp is None:
        return NOT_MEASURED
    change = round(-drop_pp, 1)
    return "0.0" if change == 0 else f"{change:+.1f}".replace("-", "−")


def interval(ends: tuple[float, float] | None) -> str:
    """A 95 % interval of a share as `94.2 to 97.5`."""
    return "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def size(size_bytes: float | None) -> str:
    """Bytes as `412 kB` or `1.3 MB` (powers of ten)."""
    if size_bytes is None:
        return NOT_MEASURED
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{_three_digits(size_bytes / scale)} {unit}"
    return f"{size_bytes:.0f} B"


def milliseconds(latency_ms: float | None) -> str:
    """A latency as `3.21 ms`."""
    return NOT_MEASURED if latency_ms is None else f"{_three_digits(latency_ms)} ms"


def seconds(duration_s: float) -> str:
    """A duration as `8.4 s` or `3 min 20 s`."""
    if duration_s < 60:
        return f"{_three_digits(duration_s)} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest:02d} s"


def count(number: float | None) -> str:
    """A number of parameters or operations as `61.2 k` or `169 M`."""
    if number is None:
        return NOT_MEASURED
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{_three_digits(number / scale)} {unit}"
    return f"{number:.0f}"


def figure(name: str, value: Any) -> str:
    """A value of a stage or a gate, in the unit given by its name."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {figure(name, one)}" for key, one in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_pp"):
        return f"{value:.2f} points".replace("-0.00", "0.00")
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_ms"):
        return milliseconds(value)
    if name.endswith("_db"):
        return f"{value:.1f} dB"
    if name == "seconds":
        return seconds(value)
    if "top1" in name or "accuracy" in name:
        return percent(value)
    counted = isinstance(value, int) or (name in ("macs", "parameters") and value >= 0)
    return count(value) if counted else f"{value:.3g}"


def exact(number: float) -> str:
    """The shortest exact decimal of a number: `0.0001`, `1e-07`, `3`."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    return repr(number)


def against_limit(name: str, value: float | None, limit: float) -> tuple[str, str]:
    """A figure and its limit in the format of `figure`, with more digits where rounding would mislead.

    Different limits have different texts, and a figure beyond its limit never appears to be within it.
    """
    shown_limit = figure(name, limit)
    if _read(shown_limit) != float(f"{limit:.12g}"):
        shown_limit = _precise(name, limit, digits=15)
    if value is None:
        return NOT_MEASURED, shown_limit
    if value == limit:
        return shown_limit, shown_limit
    shown = figure(name, value)
    digits = 3
    while not _same_side(_read(shown), value, limit) and digits <= 17:
        shown = _precise(name, value, digits=digits)
        digits += 1
    return shown, shown_limit


_UNITS = {"%": 0.01, "kB": 1e3, "MB": 1e6, "GB": 1e9, "k": 1e3, "M": 1e6, "G": 1e9}


def _read(text: str) -> float | None:
    """The number in a formatted figure; None for a duration in minutes."""
    number, _, unit = text.partition(" ")
    return None if unit.startswith("min") else float(f"{float(number) * _UNITS.get(unit, 1.0):.15g}")


def _same_side(shown: float | None, value: float, limit: float) -> bool:
    return shown is not None and shown != limit and (shown > limit) == (value > limit)


def _precise(name: str, number: float, *, digits: int) -> str:
    """A figure in the smallest unit given by its name, with `digits` significant digits."""
    unit, scale = next(
        (unit for ending, unit in _PRECISE if ending in name),
        ("", 1.0),
    )
    scaled = number * scale
    whole = abs(scaled - round(scaled)) < 1e-9 * abs(scaled) and abs(scaled) < 1e15 and digits >= 15
    return (str(round(scaled)) if whole else f"{scaled:.{digits}g}") + unit


_PRECISE = (
    ("_pp", (" points", 1.0)),
    ("_ms", (" ms", 1.0)),
    ("_db", (" dB", 1.0)),
    ("_bytes", (" B", 1.0)),
    ("seconds", (" s", 1.0)),
    ("top1", (" %", 100.0)),
    ("accuracy", (" %", 100.0)),
)
"""Part of a name, and the unit of such figures with the conversion factor."""


def _three_digits(value: float) -> str:
    """A positive number with about three significant digits, never in exponent form."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"

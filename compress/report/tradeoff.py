"""Accuracy against latency of every file on every device, with the Pareto front of each device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from compress import figures
from compress.report.plots import SHORTEST_SPAN, axis_from_zero, position
from compress.report.wording import listed, mean_share, short
from compress.report_shape import Report

_NEAR_ACROSS, _NEAR_UP = 6.0, 8.0
"""Points closer than this, in percent of the axes, share a marker: its size on a phone."""
_WIDE = 8.0
"""Ratio of latencies from which the axis is logarithmic."""


class Point(NamedTuple):
    """One file on one device."""

    code: str
    """Its letter in all panels."""
    name: str
    latency_ms: float
    top1: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in one figure without losing in the other, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency_ms, -one.top1)):
        if not front or point.top1 > front[-1].top1:
            front.append(point)
    return front


def tradeoff(report: Report) -> dict[str, Any] | None:
    """One panel per device; None if no file has both figures."""
    by_device: dict[str, list[Point]] = {}
    for at, file in enumerate(report["files"]):
        shares = {one["device"]: mean_share(one["accuracy"]["top1"]) for one in file.get("elsewhere", [])}
        first = mean_share(file["accuracy"]["top1"])
        for row in file["latency"]:
            top1 = shares.get(row["device"], first)
            if top1 is not None and row["p50_ms"] is not None:
                point = Point(_code(at), figures.name_of(file), row["p50_ms"], top1)
                by_device.setdefault(row["device"], []).append(point)
    points = [point for found in by_device.values() for point in found]
    if len(points) < 2:
        return None
    high = min(1.0, math.ceil(20 * max(point.top1 for point in points) + 0.2) / 20)
    low = max(0.0, min(math.floor(20 * min(point.top1 for point in points) - 0.2) / 20, high - SHORTEST_SPAN))
    step = next(step for step in (0.05, 0.1, 0.25) if (high - low) / step < 6)
    ticks = [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return {
        "ticks": [(f"{100 * tick:.0f}", position(tick, low, high)) for tick in ticks],
        "panels": [_panel(device, found, low=low, high=high) for device, found in by_device.items()],
    }


def _panel(device: str, points: Sequence[Point], *, low: float, high: float) -> dict[str, Any]:
    times = [point.latency_ms for point in points]
    wide = max(times) / min(times) > _WIDE
    if wide:
        first, last = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)) + 1e-9)
        ticks = [(f"{10.0**k:g}", position(k, first, last)) for k in range(first, last + 1)]
        places = [position(math.log10(time), first, last) for time in times]
    else:
        end, values = axis_from_zero(1.05 * max(times))
        ticks = [(f"{value:g}", position(value, 0, end)) for value in values]
        places = [position(time, 0, end) for time in times]
    front = pareto_front(points)
    where = {point: (x, position(point.top1, low, high)) for point, x in zip(points, places, strict=True)}
    return {
        "device": short(device),
        "logarithmic": wide,
        "ticks": ticks,
        "markers": _markers(where, front),
        "front": " ".join(f"{where[one][0]:g},{100 - where[one][1]:g}" for one in front),
        "summary": f"Pareto front on {short(device)}: {listed(map(_words, front), most=8)}",
        "rows": [
            {
                "code": point.code,
                "name": point.name,
                "p50": figures.milliseconds(point.latency_ms),
                "top1": figures.percent(point.top1),
                "on_front": point in front,
            }
            for point in sorted(points, key=lambda one: one.latency_ms)
        ],
    }


def _markers(where: dict[Point, tuple[float, float]], front: Sequence[Point]) -> list[dict[str, Any]]:
    """Points at nearly the same place share a marker with all of their letters."""
    markers: list[dict[str, Any]] = []
    for point, (x, y) in where.items():
        near = next((one for one in markers if _covers(one, x, y)), None)
        if near is None:
            markers.append({"x": x, "y": y, "codes": point.code, "on_front": point in front})
        else:
            near["codes"] += f" {point.code}"
            near["on_front"] |= point in front
    return markers


def _covers(marker: dict[str, Any], x: float, y: float) -> bool:
    return bool(abs(marker["x"] - x) < _NEAR_ACROSS and abs(marker["y"] - y) < _NEAR_UP)


def _words(point: Point) -> str:
    return f"{point.name} ({figures.milliseconds(point.latency_ms)}, {figures.percent(point.top1)})"


def _code(place: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, letter = divmod(place, 26)
    return chr(ord("A") + letter) + (str(turn + 1) if turn else "")

"""The acceptance criteria of the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.studies.comparison.files import MEASURED
from compress.studies.comparison.networks import Row
from compress.studies.published_formats import PUBLISHED_FORMATS
from export import EXPORTERS

Figures = Mapping[str, Mapping[str, Any]]
"""Results of `measure` by network."""

FLOAT_ERROR = 1e-4
AGREEMENT = 0.98
NAIVE_MEAN, NAIVE_DEPTHWISE, NAIVE_LEAST = 2.5, 4.0, 0.95
INT8_FASTER = {"onnx": 2.0, "tflite": 1.5, "executorch": 2.0}
PEER = 1.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the acceptance table."""

    text: str
    holds: bool | None
    """`None` if nothing relevant was measured."""
    found: str


def judge(figures: Figures) -> list[Line]:
    """All lines, evaluated on the measured networks."""
    return [
        _all(
            "exported to all four formats, within the pass criteria", _wrong_files(figures), of=len(figures)
        ),
        _all(f"float error at most {FLOAT_ERROR:g} of the largest logit", _errors(figures), of=len(figures)),
        _all(f"int8 top-1 as in float on at least {AGREEMENT:.0%}", _agreement(figures), of=len(figures)),
        _speedup(figures, NAIVE_MEAN, "Conv3d networks", lambda row: row.kind != "other"),
        _speedup(figures, NAIVE_DEPTHWISE, "depthwise networks", lambda row: row.kind == "depthwise"),
        _slowest(figures),
        *(_int8_faster(figures, format, limit) for format, limit in INT8_FASTER.items()),
        _peers(figures),
        _all("all of a CNN in one partition (LiteRT, ExecuTorch)", _parted(figures), of=len(figures)),
        _all("no float convolution in int8 ONNX files", _float_convolutions(figures), of=len(figures)),
    ]


def file_of(network: Mapping[str, Any], origin: str, format: str) -> Mapping[str, Any] | None:
    """The entry of one file of a network; `None` if it was not requested."""
    files = network["files"]
    return next((one for one in files if (one["origin"], one["format"]) == (origin, format)), None)


def speedups(figures: Figures, ratio: str, chosen: Callable[[Row], bool]) -> dict[str, float]:
    """A ratio by network, for the chosen networks that have it."""
    return {
        name: network["ratios"][ratio]["value"]
        for name, network in figures.items()
        if chosen(_row(network)) and ratio in network["ratios"]
    }


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of ratios."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def _row(network: Mapping[str, Any]) -> Row:
    return Row(**network["row"])


def _all(text: str, faults: Sequence[str], *, of: int) -> Line:
    found = f"{of} networks" if not faults else "; ".join(faults)
    return Line(text=text, holds=None if not of else not faults, found=found)


def _wrong_files(figures: Figures) -> list[str]:
    return [
        f"{name} {origin} {format}: {'not written' if file is None else file['status']}"
        for name, origin, format, file in _ours(figures, PUBLISHED_FORMATS)
        if file is None or file["status"] != "exported"
    ]


def _ours(figures: Figures, formats: Iterable[str]) -> list[tuple[str, str, str, Mapping[str, Any] | None]]:
    return [
        (name, origin, format, file_of(network, origin, format))
        for name, network in figures.items()
        for origin in ("float", "int8")
        for format in formats
    ]


def _errors(figures: Figures) -> list[str]:
    found = _parities(figures, origin="float", figure="relative_error")
    return [
        f"{where}: {'not run' if error is None else f'{error:.1e}'}"
        for where, error in found.items()
        if error is None or error > FLOAT_ERROR
    ]


def _agreement(figures: Figures) -> list[str]:
    found = _parities(figures, origin="int8", figure="top1_agreement")
    return [
        f"{where}: {'not run' if share is None else f'{share:.1%}'}"
        for where, share in found.items()
        if share is None or share < AGREEMENT
    ]


def _parities(figures: Figures, *, origin: str, figure: str) -> dict[str, float | None]:
    """A figure relative to the float network by network and format; `None` if the file did not run."""
    found: dict[str, float | None] = {}
    for name, this, format, file in _ours(figures, MEASURED):
        if this == origin:
            parity = None if file is None else file["parity"]
            found[f"{name} {format}"] = (
                None if not parity or "float" not in parity else parity["float"][figure]
            )
    return found


def _speedup(figures: Figures, limit: float, whose: str, chosen: Callable[[Row], bool]) -> Line:
    found = speedups(figures, "naive / float, onnx", chosen)
    text = f"float ONNX against the naive export, {whose}, geometric mean at least {limit:g}x"
    if not found:
        return Line(text=text, holds=None, found="not measured")
    mean = geometric_mean(found.values())
    left = [name for name, network in figures.items() if chosen(_row(network)) and name not in found]
    without = f"; without {', '.join(left)}" if left else ""
    return Line(text=text, holds=mean >= limit, found=f"{mean:.2f}x over {len(found)} networks{without}")


def _slowest(figures: Figures) -> Line:
    found = speedups(figures, "naive / float, onnx", lambda row: True)
    text = f"float ONNX never slower than {NAIVE_LEAST:g}x of the naive export"
    if not found:
        return Line(text=text, holds=None, found="not measured")
    slowest = min(found, key=lambda name: found[name])
    return Line(
        text=text, holds=found[slowest] >= NAIVE_LEAST, found=f"slowest: {slowest}, {found[slowest]:.2f}x"
    )


def _int8_faster(figures: Figures, format: str, limit: float) -> Line:
    found = speedups(figures, f"float / int8, {format}", lambda row: row.int8_faster)
    wanted = [name for name, network in figures.items() if _row(network).int8_faster]
    figures_text = ", ".join(
        f"{name} {found[name]:.2f}x" if name in found else f"{name} not measured" for name in wanted
    )
    return Line(
        text=f"int8 at least {limit:g}x as fast as float, {EXPORTERS[format].runtime}",
        holds=all(found.get(name, 0.0) >= limit for name in wanted) if wanted else None,
        found=figures_text or "not measured",
    )


def _peers(figures: Figures) -> Line:
    found = speedups(figures, "best int8 / peer int8", lambda row: row.peer)
    return Line(
        text=f"best int8 at most {PEER:g}x the time of OpenVINO with NNCF int8",
        holds=all(value <= PEER for value in found.values()) if found else None,
        found=", ".join(f"{name} {value:.2f}x" for name, value in found.items()) or "not measured",
    )


def _parted(figures: Figures) -> list[str]:
    faults = []
    for name, origin, format, file in _ours(figures, ("tflite", "executorch")):
        if not _row(figures[name]).convolutional:
            continue
        coverage = file and file["coverage"]
        if not coverage:
            faults.append(f"{name} {origin} {format}: not known")
        elif coverage["share"] < 1 or coverage["partitions"] != 1:
            parts = f"{coverage['share']:.1%}, {coverage['partitions']} partitions"
            faults.append(f"{name} {origin} {format}: {parts}")
    return faults


def _float_convolutions(figures: Figures) -> list[str]:
    faults = []
    for name, network in figures.items():
        file = file_of(network, "int8", "onnx")
        coverage = file and file["coverage"]
        if not coverage:
            faults.append(f"{name}: not known")
        elif coverage["float_convolutions"]:
            faults.append(f"{name}: {coverage['float_convolutions']}")
    return faults

"""The part of the report on quantization by layer: the cost of int8 in each, and the layers that stay in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compress import figures
from compress.report.plots import bars, line

LISTED = 15
"""Number of layers in the table and the picture, those that cost most."""

FIGURES = ("sensitivity", "mixed_precision")
"""Figures of a stage that have this section instead of a row of changes."""

_TOTALS = {"float": "float", "weights": "weights only", "activations": "activations only", "both": "both"}


def layer_costs(stages: Sequence[Any]) -> dict[str, Any] | None:
    """Tables and pictures of the last stage with such figures; None if there is none."""
    found = [stage for stage in stages if any(key in stage["after"] for key in FIGURES)]
    if not found:
        return None
    after = found[-1]["after"]
    measured, mixed = after.get("sensitivity"), after["mixed_precision"]
    return {
        "stage": found[-1]["path"],
        "clips": measured["clips"] if measured else 0,
        "totals": [
            {"name": words, "kl": _kl(measured["totals"][key]["kl"]), "top1": _top1(measured["totals"][key])}
            for key, words in _TOTALS.items()
        ]
        if measured
        else [],
        "layers": [_layer(one, mixed) for one in measured["layers"][:LISTED]] if measured else [],
        "left_out": max(0, len(measured["layers"]) - LISTED) if measured else 0,
        "plot": _plot(measured["layers"][:LISTED], mixed) if measured else None,
        "kept": list(mixed["reasons"].items()),
        "count": mixed["layers"],
        "size": figures.size(mixed["weight_bytes"]),
        "trials": _trials(mixed["trials"]),
    }


def _layer(one: Mapping[str, Any], mixed: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": one["layer"],
        "weights": figures.count(one["weights"]) if one["weights"] else "none",
        "alone_kl": _kl(one["alone"]["kl"]),
        "alone_top1": _top1(one["alone"]),
        "kept_kl": _kl(one["kept"]["kl"]),
        "kept_top1": _top1(one["kept"]),
        "form": "float" if one["layer"] in mixed["float_layers"] else "int8",
    }


def _plot(layers: Sequence[Mapping[str, Any]], mixed: Mapping[str, Any]) -> dict[str, Any] | None:
    """A bar per layer, by its divergence when it alone is int8; layers in float are marked."""
    return bars(
        [(one["layer"], one["alone"]["kl"], _kl(one["alone"]["kl"])) for one in layers],
        marked=mixed["float_layers"],
    )


def _trials(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The search for a bound: its steps, and the drop over the number of layers in float as a curve."""
    if not trials:
        return None
    lowest: dict[int, float] = {}
    for one in trials:
        lowest[one["float_layers"]] = min(one["drop_pp"], lowest.get(one["float_layers"], one["drop_pp"]))
    steps = [
        {
            "step": _step(one),
            "float_layers": one["float_layers"],
            "drop": f"{one['drop_pp']:.2f}",
            "size": figures.size(one["weight_bytes"]),
        }
        for one in trials
    ]
    return {"steps": steps, "curve": line(sorted(lowest.items()))}


def _step(trial: Mapping[str, Any]) -> str:
    text = (
        f"{trial['changed']} to {trial['into']}"
        if trial["changed"]
        else "every layer int8, but for those named"
    )
    return f"{text}: {trial['latency_ms']:.3f} ms" if trial.get("latency_ms") else text


def _kl(value: float) -> str:
    return f"{value:.2g}"


def _top1(measured: Mapping[str, Any]) -> str:
    return " / ".join(map(figures.percent, measured["top1"]))

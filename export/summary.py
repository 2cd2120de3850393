"""Prints the outcomes of an export: a row per file, and reasons below the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.outcome import ExportOutcome
from export.trial import FLOAT, REFERENCE
from export.verify.acceptance import FileParity
from export.verify.coverage.report import Coverage
from export.verify.parity import Parity

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

_COLOURS = {"exported": "green", "wrong": "red", "failed": "red"}

_SHOWN_LAYERS = 20


def print_outcomes(outcomes: Sequence[ExportOutcome], console: Console) -> None:
    """A table of the files; below it the inputs of the parity check, and why something failed or is wrong."""
    table = Table(box=None, pad_edge=False)
    for column in ("file", "outcome", "size", "parity", "coverage", "seconds"):
        table.add_column(column, justify="right" if column in ("size", "seconds") else "left")
    for one in outcomes:
        size = "-" if one.size_bytes is None else f"{one.size_bytes / 1e6:.2f} MB"
        colour = _COLOURS[one.status]
        parity, coverage = _parity(one.parity, one.scheme), _coverage(one.coverage)
        outcome = Text(one.status, style=colour)
        table.add_row(one.name, outcome, size, parity, coverage, f"{one.seconds:.1f}")
        if one.step is not None:
            parity, coverage = _parity(one.step.parity, one.scheme), _coverage(one.step.coverage)
            table.add_row("  one frame", "", "", parity, coverage, "")
    console.print(table)
    for line in dict.fromkeys(_remarks(outcomes)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _parity(parity: FileParity | None, scheme: str) -> str:
    """The output with the largest error, for each network that it is compared with."""
    if parity is None or not parity.against:
        return "-" if parity is None or parity.unknown is None else "not run"
    if REFERENCE not in parity.against:
        worst = max(parity.against[FLOAT], key=lambda one: one.relative_error or 0)
        return f"error {_number(worst.relative_error)}{_top1(worst)}"
    against = {name: min(parity.against[name], key=lambda one: one.sqnr_db) for name in parity.against}
    words = {REFERENCE: "torch int8" if scheme == "w8a8" else "its weights", FLOAT: "float"}
    return "; ".join(
        f"{one.sqnr_db:.0f} dB{_top1(one)} to {words[name]}" for name, one in reversed(against.items())
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _top1(parity: Parity) -> str:
    return "" if parity.top1_agreement is None else f", top-1 {parity.top1_agreement:.0%}"


def _coverage(coverage: Coverage | None) -> str:
    if coverage is None:
        return "-"
    parts = "" if coverage.partitions is None else f" in {coverage.partitions}"
    return f"{coverage.share:.0%}{parts}"


def _remarks(outcomes: Sequence[ExportOutcome]) -> list[str]:
    proved = [one.parity for one in outcomes if one.parity is not None]
    lines = [
        f"parity on {parity.source}; error: largest, as part of the largest value" for parity in proved[:1]
    ]
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in outcomes:
        if one.reason is not None:
            reasons.setdefault((one.status, one.reason), []).append(one.name)
    # A reason that several files share is printed once.
    for (status, reason), files in reasons.items():
        verb = "failed" if status == "failed" else "is wrong" if len(files) == 1 else "are wrong"
        lines.append(f"{', '.join(files)} {verb}: {reason}")
    for one in outcomes:
        lines += [f"{one.name}{text}" for text in cost_notes(one)]
        if one.parity is not None and one.parity.unknown is not None:
            lines.append(f"{one.name} was not run: {one.parity.unknown}")
        if one.parity is not None and one.format == "coreml" and one.parity.runner is not None:
            lines.append(f"{one.name} was run by: {one.parity.runner}")
    return lines


def cost_notes(outcome: ExportOutcome) -> list[str]:
    """The notes on a file's quantization cost, each with its program."""
    programs = [("", outcome.parity, outcome.notes)]
    if outcome.step is not None:
        programs.append((", frame by frame", outcome.step.parity, outcome.step.notes))
    return [
        f"{where}: {next((note for note in notes if note.startswith(cost)), cost)}"
        for where, parity, notes in programs
        if parity is not None and (cost := parity.quantization_cost) is not None
    ]


def print_layers(layers: Sequence[LayerError], console: Console) -> None:
    """The worst layers of the int8 reference."""
    table = Table(
        box=None, pad_edge=False, title="quantization cost by layer, worst first", title_justify="left"
    )
    for column in ("alone dB", "own dB", "SQNR dB", "operator", "layer", "place"):
        table.add_column(column, justify="right" if "dB" in column else "left")
    for layer in layers[:_SHOWN_LAYERS]:
        alone = "-" if layer.alone_sqnr_db is None else f"{layer.alone_sqnr_db:.1f}"
        noises = (alone, f"{layer.own_sqnr_db:.1f}", f"{layer.sqnr_db:.1f}")
        row = (*noises, layer.operator, layer.layer, layer.place)
        table.add_row(*map(Text, row))
    console.print(table)
    if len(layers) > _SHOWN_LAYERS:
        console.print(f"and {len(layers) - _SHOWN_LAYERS} more")

"""The tables of `docs/quantization.md`, from the figures of `compress.studies.quantization`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.studies.generated_blocks import with_block
from export.verify.parity import SQNR_LIMIT_DB

FIGURES = Path("benchmarks/results/quantization.json")
"""The figures, in the repository."""


def quantization_page(root: Path) -> dict[Path, str]:
    """The page with its tables; nothing as long as there are no figures."""
    if not (root / FIGURES).is_file():
        return {}
    page = root / "docs" / "quantization.md"
    figures = json.loads((root / FIGURES).read_text(encoding="utf-8"))
    return {page: with_block(page.read_text(encoding="utf-8"), "study", "\n".join(_tables(figures)) + "\n")}


def _tables(figures: dict[str, Any]) -> Iterator[str]:
    clips = figures["clips"]
    yield (
        f"\n`{figures['student']}`, {figures['parameters']:,} parameters, trained on {clips['train']} clips, "
        f"measured on {clips['test']} test clips. One clip is {100 / clips['test']:.1f} points: differences of a "
        "few clips are noise, while SQNR and KL use all logits.\n"
    )
    yield "| method | top-1 | same class as float | SQNR | KL to float | stage |"
    yield "|---|---|---|---|---|---|"
    for name, one in figures["methods"].items():
        yield f"| {name} | {_shares(one)} | {one['seconds']:.0f} s |"
    if not figures["quantizers"]:
        yield ""
        return
    yield "\nOther quantizers, same network and calibration clips; ONNX files in ONNX Runtime, one thread:\n"
    yield "| quantizer | top-1 | same class as float | SQNR | KL to float | size | latency |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in figures["quantizers"].items():
        has_file = "size_bytes" in one
        file = f"{one['size_bytes'] / 1e3:.0f} kB | {one['latency_ms']:.2f} ms" if has_file else "no file | "
        yield f"| {name} | {_shares(one)} | {file} |"
    yield ""


def _shares(one: dict[str, float]) -> str:
    exact = one["sqnr_db"] >= SQNR_LIMIT_DB
    sqnr = "equal" if exact else f"{one['sqnr_db']:.1f} dB"
    return f"{100 * one['top1']:.1f} % | {100 * one['agreement']:.1f} % | {sqnr} | {one['kl']:.4f}"

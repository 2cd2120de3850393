"""The tables of `docs/quantization.md`, from the figures of `compress.studies.quantization`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.figures import milliseconds, size
from compress.studies.generated_blocks import with_block
from export.verify.parity import SQNR_LIMIT_DB

FIGURES = Path("benchmarks/results/quantization.json")
"""The figures, in the repository."""
POCKETREEL = "Pocketreel"
"""Name of Pocketreel's own quantizer in the figures."""


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
    yield (
        "\nOther quantizers, same network and calibration clips. Files of one runtime were timed in the same "
        "rounds, one thread; brackets are 95 % intervals of the ratio to Pocketreel's file:\n"
    )
    yield "| runtime | quantizer | top-1 | same class as float | SQNR | KL to float | size | latency | relative |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in figures["quantizers"]:
        head = f"| {one['runtime']} | {one['quantizer']} |"
        if "reason" in one:
            yield f"{head} {one['reason']} | | | | | | |"
        elif "size_bytes" not in one:
            yield f"{head} {_shares(one)} | no file | | |"
        else:
            file = f"{size(one['size_bytes'])} | {milliseconds(one['latency_ms'])}"
            yield f"{head} {_shares(one)} | {file} | {_ratio(one)} |"
    yield ""


def _ratio(one: dict[str, Any]) -> str:
    """Latency relative to Pocketreel's int8 file of the same runtime."""
    if one["quantizer"] == POCKETREEL:
        return "1"
    low, high = one["against_ours"]["ci95"]
    return f"{one['against_ours']['value']:.2f} [{low:.2f}, {high:.2f}]"


def _shares(one: dict[str, float]) -> str:
    exact = one["sqnr_db"] >= SQNR_LIMIT_DB
    sqnr = "equal" if exact else f"{one['sqnr_db']:.1f} dB"
    return f"{100 * one['top1']:.1f} % | {100 * one['agreement']:.1f} % | {sqnr} | {one['kl']:.4f}"

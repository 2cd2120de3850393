"""The tables of `docs/cross_modal.md`, from the figures of `compress.cross_modal`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.store import write_atomic

_BLOCK = re.compile(r"(<!-- generated: cross_modal -->\n).*?(<!-- end -->)", re.DOTALL)


def write_page(page: Path, figures: dict[str, Any]) -> None:
    """Puts the tables where the page has its generated block."""
    content = "\n".join(_lines(figures))
    text = page.read_text(encoding="utf-8")
    write_atomic(page, _BLOCK.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text))


def _lines(figures: dict[str, Any]) -> list[str]:
    clips, settings = figures["clips"], figures["settings"]
    first = figures["students"][0]
    distill = settings["stages"][0]["distill"]
    return [
        f"`{figures['command']}`, {figures['measured']}, torch {figures['versions']['torch']}: "
        f"{clips['train']:,} / {clips['validation']} / {clips['test']} clips, {figures['classes']} classes. "
        f"Teacher `{settings['teacher']['network']}`, {settings['teacher']['train']['epochs']} epochs; "
        f"student `{settings['student']['network']}`, {first['parameters'] / 1e3:.0f} k parameters, "
        f"{first['macs'] / 1e6:.1f} M MACs, {distill['epochs']} epochs.",
        "",
        "| teacher | top-1 | parameters |",
        "|---|---|---|",
        *(
            f"| {kind} | {_share(row['top1'])} [{', '.join(_share(end) for end in row['ci95'])}] "
            f"| {row['parameters'] / 1e3:,.0f} k |"
            for kind, row in figures["teachers"].items()
        ),
        "",
        *_students(figures),
        "",
        *_files(figures["students"]),
    ]


def _students(figures: dict[str, Any]) -> list[str]:
    seeds = sorted({row["seed"] for row in figures["students"]})
    heads = (
        "top-1, mean",
        *(f"seed {seed}" for seed in seeds),
        "gain over labels",
        "in int8, mean",
        "int8 gives",
    )
    lines = [f"| student learned from | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for arm, int8 in figures["int8_losses"].items():
        own = [row for row in figures["students"] if row["learned_from"] == arm]
        gain = figures["gains"].get(arm)
        cells = (
            _mean(own, "top1"),
            *(_share(row["top1"]) for row in own),
            _points(gain) if gain else "",
            _mean(own, "top1_int8"),
            _points(int8),
        )
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _files(students: Sequence[dict[str, Any]]) -> list[str]:
    rows = [row for row in students if "files" in row]
    if not rows:
        return []
    formats = list(rows[0]["files"])
    lines = [
        f"| student of seed {rows[0]['seed']}, learned from | torch int8 | {' | '.join(formats)} |",
        "|---|---|" + "---|" * len(formats),
    ]
    for row in rows:
        cells = (_share(file) if isinstance(file, float) else file for file in row["files"].values())
        lines.append(f"| {row['learned_from']} | {_share(row['top1_int8'])} | {' | '.join(cells)} |")
    return lines


def _mean(rows: Sequence[dict[str, Any]], name: str) -> str:
    return _share(sum(row[name] for row in rows) / len(rows))


def _points(difference: dict[str, Any]) -> str:
    """Mean with its interval, then the difference of every seed."""
    low, high = difference["ci95_pp"]
    each = ", ".join(f"{points:+.1f}" for points in difference["each_pp"])
    return f"{difference['mean_pp']:+.1f} [{low:+.1f}, {high:+.1f}] ({each})"


def _share(share: float) -> str:
    return f"{100 * share:.1f}"

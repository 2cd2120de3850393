"""The tables of `docs/cross_modal.md`, from the figures of `compress.studies.cross_modal`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.folders.output import write_output_file
from compress.studies.generated_blocks import with_block

_TITLES = {"sound": "audio", "picture": "video", "picture and sound": "video and audio"}
"""Names of the teachers in the figures -> in the tables."""


def write_page(page: Path, figures: dict[str, Any]) -> None:
    """Writes the tables into the generated block of the page."""
    content = "\n".join(_lines(figures))
    text = page.read_text(encoding="utf-8")
    write_output_file(page, with_block(text, "cross_modal", f"\n{content}\n\n"), option="--page")


def _lines(figures: dict[str, Any]) -> list[str]:
    return [
        _setting(figures),
        "",
        "| teacher | top-1 | parameters | epochs | softened top class |",
        "|---|---|---|---|---|",
        *(
            f"| {_TITLES.get(kind, kind)} "
            f"| {_share(row['top1'])} [{', '.join(_share(end) for end in row['ci95'])}] "
            f"| {row['parameters'] / 1e3:,.0f} k | {row['epochs']} "
            f"| {_share(row['softened_top_probability'])} |"
            for kind, row in figures["teachers"].items()
        ),
        "",
        *_students(figures, "top1", {"gain over labels": figures["gains"]}),
        "",
        *_students(
            figures,
            "top1_int8",
            {"against float": figures["int8_losses"], "gain over labels in int8": figures["int8_gains"]},
        ),
        "",
        *_files(figures["students"]),
    ]


def _setting(figures: dict[str, Any]) -> str:
    clips, settings = figures["clips"], figures["settings"]
    size, distill = figures["students"][0], settings["stages"][0]["distill"]
    taught = settings.get("distillation", distill)  # figures from before the section existed
    softened = taught.get("losses", {}).get("kd", taught)  # figures from before losses had settings
    return (
        f"`{figures['command']}`, {figures['measured']}, torch {figures['versions']['torch']}: "
        f"{clips['train']:,} / {clips['validation']} / {clips['test']} clips of {figures['classes']} classes. "
        f"Teachers `{settings['teacher']['network']}`; student `{settings['student']['network']}`, "
        f"{size['parameters'] / 1e3:.0f} k parameters, {size['macs'] / 1e6:.1f} M MACs, "
        f"{distill['epochs']} epochs, temperature {softened['temperature']:g}, "
        f"label weight {taught['label_weight']:g}."
    )


def _students(
    figures: dict[str, Any], name: str, differences: dict[str, dict[str, dict[str, Any]]]
) -> list[str]:
    """One row per source of learning: mean, every seed, and differences in points."""
    seeds = sorted({row["seed"] for row in figures["students"]})
    title = "student learned from" if name == "top1" else "the same in int8"
    heads = ("top-1, mean", *(f"seed {seed}" for seed in seeds), *differences)
    lines = [f"| {title} | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for arm in dict.fromkeys(row["learned_from"] for row in figures["students"]):
        shares = [row[name] for row in figures["students"] if row["learned_from"] == arm]
        cells = (
            _share(sum(shares) / len(shares)),
            *(_share(share) for share in shares),
            *(_points(row[arm]) if arm in row else "" for row in differences.values()),
        )
        lines.append(f"| {_TITLES.get(arm, arm)} | {' | '.join(cells)} |")
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
        title = _TITLES.get(row["learned_from"], row["learned_from"])
        lines.append(f"| {title} | {_share(row['top1_int8'])} | {' | '.join(cells)} |")
    return lines


def _points(difference: dict[str, Any]) -> str:
    """Mean with its interval, then the difference of every seed."""
    low, high = difference["ci95_pp"]
    each = ", ".join(f"{points:+.1f}" for points in difference["each_pp"])
    return f"{difference['mean_pp']:+.1f} [{low:+.1f}, {high:+.1f}] ({each})"


def _share(share: float) -> str:
    return f"{100 * share:.1f}"

"""The tables of a study of arms, from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.folders.output import write_output_file
from compress.studies.generated_blocks import with_block


def write_page(page: Path, block: str, figures: Mapping[str, Any]) -> None:
    """Writes the tables into the generated block of the page."""
    text = page.read_text(encoding="utf-8")
    write_output_file(page, with_block(text, block, tables(figures)), option="--page")


def tables(figures: Mapping[str, Any]) -> str:
    """All tables as Markdown: settings, teachers, each stage, files."""
    lines = ["", _setting(figures), ""]
    if figures["teachers"]:
        lines += [*_teachers(figures["teachers"]), ""]
    for index, path in enumerate(figures["stages"]):
        lines += [*_stage(figures, index, path), ""]
    lines += [*_files(figures), ""]
    return "\n".join(lines) + "\n"


def _setting(figures: Mapping[str, Any]) -> str:
    clips, last = figures["clips"], figures["students"][0]["stages"][-1]
    macs = "" if last["macs"] is None else f", {last['macs'] / 1e6:.1f} M MACs"
    return (
        f"`{figures['command']}`, {figures['measured']}, torch {figures['versions']['torch']}: "
        f"{clips['train']:,} / {clips['validation']:,} / {clips['test']:,} clips of {figures['classes']} classes; "
        f"student of {last['parameters'] / 1e3:,.1f} k parameters{macs}."
    )


def _teachers(teachers: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = [
        "| arm | teacher takes | top-1 | parameters | training, s |",
        "|---|---|---|---|---|",
    ]
    for arm, ones in teachers.items():
        for one in ones:
            low, high = one["ci95"]
            parameters = one["parameters"]
            size = "a file" if parameters is None else f"{parameters / 1e3:,.0f} k"
            lines.append(
                f"| {arm} | {', '.join(one['inputs'])} | {_share(one['top1'])} [{_share(low)}, {_share(high)}] "
                f"| {size} | {one['seconds']} |"
            )
    return lines


def _stage(figures: Mapping[str, Any], index: int, path: str) -> list[str]:
    students, gains = figures["students"], figures["gains"][path]
    seeds = sorted({one["seed"] for one in students})
    first = students[0]["arm"]
    heads = ["top-1, mean", *(f"seed {seed}" for seed in seeds), f"gain over {first}", "s"]
    lines = [f"| after `{path}` | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for arm in dict.fromkeys(one["arm"] for one in students):
        rows = [one["stages"][index] for one in students if one["arm"] == arm]
        cells = [
            _share(_mean(row["top1"] for row in rows)),
            *(_share(row["top1"]) for row in rows),
            _points(gains[arm]) if arm in gains else "",
            f"{_mean(row['seconds'] for row in rows):.0f}",
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _files(figures: Mapping[str, Any]) -> list[str]:
    """Change of top-1 from the last float network to each file; reasons for missing files."""
    losses = figures["losses"]
    names = list(dict.fromkeys(name for found in losses.values() for name in found))
    if not names:
        return []
    lines = [f"| files against the float student | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for arm, found in losses.items():
        cells = (_points(found[name], each=False) if name in found else "" for name in names)
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    reasons = {f"{name}: {why}" for one in figures["students"] for name, why in one["failed"].items()}
    return [*lines, *(f"\nNot measured: {one}." for one in sorted(reasons))]


def _points(difference: Mapping[str, Any], *, each: bool = True) -> str:
    """Mean with its interval, then the difference of every seed."""
    low, high = difference["ci95_pp"]
    text = f"{difference['mean_pp']:+.1f} [{low:+.1f}, {high:+.1f}]"
    seeds = ", ".join(f"{points:+.1f}" for points in difference["each_pp"])
    return f"{text} ({seeds})" if each else text


def _mean(values: Any) -> float:
    given = list(values)
    return float(sum(given) / len(given))


def _share(share: float) -> str:
    return f"{100 * share:.1f}"

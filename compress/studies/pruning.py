"""`python -m compress.studies.pruning RECIPE`: pruning for latency against pruning for MACs.

Each student is trained by the stage `distill` of the recipe, then pruned to shares of its latency and to shares of
its MACs, with the other settings of the recipe's stage `prune`. All networks of a student are measured in the same
rounds, as fp32 files. The latency of the MAC-aware networks at the accuracy of a latency-aware one is interpolated
between them. Results are cached, and a stopped run resumes. The table in `docs/pruning.md` is updated after every
student.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output
from compress.recipe.keys import check_words

if not only_reads_arguments(__name__):
    import torch
    from torch import nn

    from benchmarks.machine import processor
    from compress.data import open_data
    from compress.folders.locks import held
    from compress.folders.output import check_output_file, write_output_file
    from compress.pruning.config import PruneConfig
    from compress.pruning.target import Setting
    from compress.pruning.timing import Timed
    from compress.recipe import load_recipe
    from compress.recipe.sections import Recipe
    from compress.steps.pipeline import Run, StepFailed
    from compress.steps.train import make_teachers, run_stages, start
    from compress.studies.command_line import command_line
    from compress.studies.generated_blocks import check_page, with_block
    from export.process.quiet import silence_libraries

STUDENTS = ("mobilenet3d", "x3d_xs", "r2plus1d_18")
LATENCY = (0.5,)
MACS = (0.7, 0.5, 0.35, 0.25)
_UNPRUNED = "unpruned"
"""Folder of the student before pruning, whose stages all arms share."""

_BLOCK = "pruning"
_OF_TARGETS = ("macs", "parameters", "size_bytes", "latency", "latency_ms", "runtime", "device", "scheme")
"""Keys of the stage `prune` that the arms of the study replace."""


def main(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="Recipe with the stages distill and prune.", show_default=False
        ),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe.")
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="Networks of `models.STUDENTS`.", show_default=" ".join(STUDENTS))
    ] = None,
    latency: Annotated[
        list[float] | None, typer.Option(help="Shares of the latency.", show_default="0.5")
    ] = None,
    macs: Annotated[
        list[float] | None, typer.Option(help="Shares of the MACs.", show_default="0.7 0.5 0.35 0.25")
    ] = None,
    runtime: Annotated[str, typer.Option(help="Runtime: onnx, tflite or executorch.")] = "onnx",
    out: Annotated[Path, typer.Option(help="Folder of the networks.")] = Path("out/pruning"),
    cache: Annotated[Path, typer.Option(help="Cache folder.")] = Path("out/cache"),
    page: Annotated[Path, typer.Option(help="Page for the table.")] = Path("docs/pruning.md"),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/pruning.json"
    ),
) -> None:
    """Trains and prunes students, and writes latency and accuracy of latency-aware and MAC-aware pruning."""
    silence_libraries()
    torch.set_num_threads(1)
    arms = [("latency", share) for share in latency or LATENCY] + [("macs", share) for share in macs or MACS]
    options = {"student": student or (), "latency": latency or (), "macs": macs or (), "runtime": [runtime]}
    command = command_line("pruning", recipe, overrides=set_ or [], options=options)
    with exit_codes():
        check_page(page, _BLOCK)
        check_output_file(
            results, is_ours=lambda content: {"recipe", "students"} <= set(content), option="--results"
        )
        for name in student or STUDENTS:
            for target, share in arms:
                _with_stages(recipe, set_ or [], name, prune=_aim(target, share, runtime=runtime))
    with exit_codes(failed=(StepFailed,)), held(out):
        rows: list[dict[str, Any]] = []
        for name in student or STUDENTS:
            rows.append(_student(recipe, set_ or [], name, arms, runtime=runtime, out=out, cache=cache))
            figures = {
                "command": command,
                "recipe": recipe.name,
                "runtime": runtime,
                "cpu": processor(),
                "students": rows,
            }
            write_output_file(results, json.dumps(figures, indent=1) + "\n", option="--results")
            text = page.read_text(encoding="utf-8")
            write_output_file(page, with_block(text, _BLOCK, table(figures)), option="--page")


def _student(
    recipe: Path,
    overrides: Sequence[str],
    name: str,
    arms: Sequence[tuple[str, float]],
    *,
    runtime: str,
    out: Path,
    cache: Path,
) -> dict[str, Any]:
    """The figures of one student: unpruned, and of every arm."""
    console = output()
    checked = _with_stages(recipe, overrides, name, prune=None)
    data = open_data(checked.data, checked.clip, cache=cache, workers=1, seed=checked.seed, console=console)

    def run(own: Recipe, arm: str) -> Run:
        return Run(
            recipe=own,
            data=data,
            folder=out / name / arm,
            cache=cache,
            device=torch.device("cpu"),
            console=console,
            finished=(out / name / _UNPRUNED,),
        )

    unpruned = run(checked, _UNPRUNED)
    teachers = make_teachers(unpruned)
    run_stages(unpruned, teachers, start(unpruned, teachers))
    networks: list[nn.Module] = []
    rows: list[dict[str, Any]] = []
    for target, share in arms:
        console.print(Rule(f"{name}: {target} {share:g}"))
        aim = _aim(target, share, runtime=runtime)
        own = run(_with_stages(recipe, overrides, name, prune=aim), f"{target}_{share:g}")
        outcomes = run_stages(own, teachers, start(own, teachers))
        before, after = outcomes[-1].record["before"], outcomes[-1].record["after"]
        if not networks:
            networks.append(outcomes[-2].artifact.model)
            rows.append({"target": None, "top1": before["top1"], "macs_share": 1.0})
        networks.append(outcomes[-1].artifact.model)
        rows.append(
            {
                "target": target,
                "asked_share": share,
                "top1": after["top1"],
                "macs_share": after["macs"] / before["macs"],
            }
        )
    timed = Timed(networks[0], Setting(spec=unpruned.student_spec, runtime=runtime))
    for row, value in zip(rows, [1.0, *timed.shares(networks[1:])], strict=True):
        row["latency_share"] = value
        row["speedup_per_reduction"] = row["macs_share"] / value
    return {"student": name, "p50_ms": timed.p50_ms, "networks": rows, "gains": gains(rows)}


def _aim(target: str, share: float, *, runtime: str) -> dict[str, Any]:
    """The keys of the stage `prune` for one arm."""
    return {target: share, **({"runtime": runtime} if target == "latency" else {})}


def _with_stages(
    recipe: Path, overrides: Sequence[str], student: str, *, prune: dict[str, Any] | None
) -> Recipe:
    """The recipe with this student, its stage `distill`, and its stage `prune` with another target."""
    plain = load_recipe(recipe, overrides=[*overrides])
    found = {entry.verb: entry.config for entry in plain.stages}
    if "distill" not in found or not isinstance(found.get("prune"), PruneConfig):
        raise typer.BadParameter(f"{recipe} needs the stages distill and prune")
    stages = [{"distill": found["distill"].model_dump(mode="json", exclude_unset=True)}]
    if prune is not None:
        kept = found["prune"].model_dump(mode="json", exclude_unset=True, exclude={*_OF_TARGETS})
        stages.append({"prune": {**kept, **prune}})
    own = [f"student={{network: {student}, inputs: [clip]}}", f"stages={json.dumps(stages)}", "gates=[]"]
    return load_recipe(recipe, overrides=[*overrides, "export.schemes=[fp32]", *own])


def gains(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How much faster each latency-aware network is than the MAC-aware ones at its accuracy.

    The latency of MAC-aware networks is linear in accuracy between neighbours, the unpruned one included. `faster`
    is null if all of them are more, or less, accurate.
    """
    others = sorted((row["top1"], row["latency_share"]) for row in rows if row["target"] in (None, "macs"))
    found = []
    for row in rows:
        if row["target"] != "latency":
            continue
        latency = None
        for (low, fast), (high, slow) in itertools.pairwise(others):
            if low <= row["top1"] <= high:
                place = (row["top1"] - low) / (high - low) if high > low else 1.0
                latency = fast + place * (slow - fast)
        faster = None if latency is None else latency / row["latency_share"]
        found.append(
            {"asked_share": row["asked_share"], "macs_aware_latency_share": latency, "faster": faster}
        )
    return found


def table(figures: dict[str, Any]) -> str:
    """The table of the page."""
    lines = [
        f"Runtime `{figures['runtime']}`, {figures['cpu']}, one thread; `{figures['command']}`.",
        "",
        "| student | target | top-1 | MACs | latency | speedup / MAC reduction | faster at equal top-1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for student in figures["students"]:
        faster = {one["asked_share"]: one["faster"] for one in student["gains"]}
        for row in student["networks"]:
            asked = "unpruned" if row["target"] is None else f"{row['target']} {row['asked_share']:g}"
            gain = faster.get(row.get("asked_share")) if row["target"] == "latency" else None
            lines.append(
                f"| {student['student']} | {asked} | {100 * row['top1']:.1f} % | {100 * row['macs_share']:.0f} % "
                f"| {100 * row['latency_share']:.0f} % | {row['speedup_per_reduction']:.2f} "
                f"| {'' if gain is None else f'{gain:.2f}x'} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main, first=check_words, resume=Resume())

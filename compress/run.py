"""Runs one recipe, from teacher to measured files: `pocketreel run recipes/mobilenet3d_int8.yaml`.

Steps: read the recipe, plan, train and compress the networks, export, benchmark, evaluate gates, report.
Exit codes: 0 done and every gate passed, 1 a gate failed, 2 the recipe or an argument is invalid, 3 a stage or a
backend failed, 70 an unexpected error, 130 stopped.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from compress.command import FAILED, GATE_FAILED, OK, only_reads_arguments
from compress.command.guard import exit_codes, keep_tracebacks_in, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.recipe_options import (
    CACHE,
    WORKERS,
    CacheOption,
    OutOption,
    RecipeArgument,
    SetOption,
    TrainDeviceOption,
    UserCodeTimeoutOption,
    WorkersOption,
)
from compress.command.supervise import Resume
from compress.command.terminal import headed, output, print_error
from compress.command.user_code import TIME_LIMIT_S, MemoryOption, set_limits
from compress.recipe.keys import check_words

if not only_reads_arguments(__name__):
    import torch

    from compress.device import training_device
    from compress.gates import evaluate_gates, gates_hold
    from compress.recipe import load_recipe
    from compress.recipe.plan import plan
    from compress.recipe.sections import Recipe
    from compress.report import Report, did_not_run, print_files, print_gates, write_report
    from compress.report.assemble import assemble
    from compress.report.classes import shown_clips
    from compress.report.samples import pictures, samples
    from compress.run_folder import RunFolder, check_run_folder, opened
    from compress.steps.benchmark import benchmark
    from compress.steps.export import export
    from compress.steps.open_run import open_run
    from compress.steps.pipeline import StepFailed
    from compress.steps.robustness import robustness
    from compress.steps.train import (
        make_teachers,
        networks_by_scheme,
        run_stages,
        start,
    )
    from compress.steps.try_networks import try_for_plan
    from export.process.quiet import silence_libraries


def run_recipe(
    recipe: Recipe,
    *,
    folder: RunFolder,
    cache: Path,
    workers: int,
    device: torch.device,
    console: Console,
    fresh: bool = False,
) -> Report:
    """Runs the recipe, using cached results; writes and returns the report.

    With `fresh`, earlier results are removed as soon as data and settings are validated.

    Raises `ValueError` for invalid data and for an unusable user teacher, `StepFailed` for a failed step.
    """
    run = open_run(
        recipe, folder=folder, cache=cache, workers=workers, device=device, console=console, fresh=fresh
    )
    teachers = make_teachers(run)
    first = start(run, teachers)
    stages = run_stages(run, teachers, first)
    made = [*([first] if first else []), *stages]
    # The accuracy of an untrained network says nothing.
    judged = made if stages or recipe.student.is_trained else []
    networks = networks_by_scheme(recipe.schemes, made)
    exported = export(run, networks)
    measured = benchmark(run, networks, exported)
    corrupted = robustness(run, teachers=teachers, stages=judged, exported=exported)
    report = assemble(
        run,
        teachers=teachers,
        stages=judged,
        files=exported.rows,
        measured=measured,
        robustness=corrupted,
    )
    report["gates"] = evaluate_gates(recipe.gates, report)
    write_report(
        report,
        run.folder,
        samples=samples(run.data, teachers=teachers, student=made[-1]),
        pictures=pictures(run.data, shown_clips(report)),
    )
    outcomes = list({one.folder: one for one in (*teachers, *made)}.values())
    for warning in report["warnings"]:
        message = f"{warning['path']}, {warning['label']}: {warning['message']}"
        console.print(headed("warning", message, style="bold yellow"))
    folder.finish({**{one.folder: one.key for one in outcomes}, "export": exported.key})
    return report


def main(
    recipe: RecipeArgument,
    set_: SetOption = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Check the recipe, print its steps and exit.")
    ] = False,
    out: OutOption = None,
    cache: CacheOption = CACHE,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Remove the results of earlier runs (and nothing else) from the output folder and start again.",
        ),
    ] = False,
    workers: WorkersOption = WORKERS,
    train_device: TrainDeviceOption = "auto",
    user_code_timeout: UserCodeTimeoutOption = TIME_LIMIT_S,
    user_code_memory: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trains, compresses, exports and measures the networks of one recipe, and writes the report.

    Results are cached: a stopped run resumes, and a stage whose inputs have not changed is not repeated.
    With --json, the document is report.json; with --plan, the steps.

    Exit codes: 0 done, 1 a gate failed, 2 the recipe or an argument is invalid, 3 a stage or backend failed.
    """
    write_json = json_alone(as_json)
    silence_libraries()
    set_limits(seconds=user_code_timeout, gigabytes=user_code_memory)
    console = output()
    with exit_codes():
        checked = load_recipe(recipe, overrides=set_ or [])
        trained_on = training_device(train_device)
        folder = out or Path("out") / checked.name
        check_run_folder(folder, checked, recipe_path=recipe, cache=cache, plan_only=plan_only)
    planned = plan(checked)
    console.print(planned)
    if plan_only:
        with exit_codes():
            try_for_plan(checked, cache=cache, device=trained_on, console=console)
        write_json({"name": planned.name, "steps": [asdict(step) for step in planned.steps]})
        return
    with exit_codes(failed=(StepFailed,)), opened(folder, checked, console=console) as held:
        keep_tracebacks_in(folder)
        report = run_recipe(
            checked,
            folder=held,
            cache=cache,
            workers=workers,
            device=trained_on,
            console=console,
            fresh=fresh,
        )
    code = _verdict(report, folder, console)
    write_json((folder / "report.json").read_text(encoding="utf-8"))
    raise typer.Exit(code)


def _verdict(report: Report, folder: Path, console: Console) -> int:
    """Prints the outcome of the run and returns its exit code."""
    print_files(report, console)
    print_gates(report, console)
    console.print(f"report: {folder / 'report.html'}")
    bad = [file for file in report["files"] if file["status"] != "exported"]
    if bad:
        return _complain(
            FAILED, f"{len(bad)} files failed or missed their pass criterion; see the reasons above"
        )
    stopped = did_not_run(report)
    if stopped:
        return _complain(FAILED, f"should have run on this machine and did not: {', '.join(stopped)}")
    return OK if gates_hold(report["gates"]) else GATE_FAILED


def _complain(code: int, message: object) -> int:
    print_error(message)
    return code


if __name__ == "__main__":
    run_command(
        main,
        first=check_words,
        resume=None if "--plan" in sys.argv else Resume(without=("--fresh",)),
        renamed={"--device": "--train-device"},
    )

"""`python -m compress.studies.arms STUDY`: a recipe with different settings, over seeds.

A study is a YAML file with a recipe and its arms: overrides of the recipe, by name. Every arm runs the stages of
the recipe with every seed. Teachers are trained once, with the seed of the recipe, and shared by arms with equal
settings. Gains are over the first arm. All files of every seed are measured in their runtimes. Results are cached,
and a stopped study resumes. Page and figures are updated after every seed.
"""

from __future__ import annotations

import json
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.rule import Rule
from rich.text import Text

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.supervise import Resume
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import numpy as np
    import torch

    from benchmarks.accuracy import evaluate
    from benchmarks.exported import read_export
    from benchmarks.top1 import accuracy_of, correct_predictions
    from compress.artifact import Form
    from compress.data import Data, open_data
    from compress.folders.locks import held
    from compress.folders.output import check_output_file, write_output_file
    from compress.recipe import load_recipe
    from compress.recipe.sections import Recipe
    from compress.recipe.teacher_spec import geometries
    from compress.steps.export import export, file_id
    from compress.steps.pipeline import Run, StageOutcome, StepFailed
    from compress.steps.train import make_teachers, networks_by_scheme, run_stages, start
    from compress.studies.arms_page import write_page
    from compress.studies.gain import gain
    from compress.studies.generated_blocks import check_page
    from export.process.quiet import silence_libraries


class Study(BaseModel):
    """The content of a study file; paths start from the current folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Path
    arms: dict[str, tuple[str, ...]] = Field(min_length=2)
    """Overrides of the recipe, in the form of `--set`, by the name of the arm."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    page: Path
    block: str
    """Name of the generated block of the page."""
    results: Path
    """JSON file of the figures."""


def main(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study (YAML).", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe in all arms."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seeds, instead of those of the study.", show_default=False)
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="Only these arms besides the first.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of networks and files.")] = Path("out/arms"),
    cache: Annotated[Path, typer.Option(help="Cache folder for decoded clips and teacher logits.")] = Path(
        "out/cache"
    ),
    page: Annotated[
        Path | None, typer.Option(help="Page, instead of that of the study.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Figures, instead of those of the study.", show_default=False)
    ] = None,
) -> None:
    """Trains every arm of a study with every seed, and writes accuracy and gains.

    Exit codes: 0 done, 2 the study, its recipe or an argument is invalid, 3 a stage failed.
    """
    silence_libraries()
    torch.set_num_threads(1)
    with exit_codes():
        given = read_study(study)
        given = given.model_copy(
            update={
                "arms": _chosen(given.arms, arm),
                "seeds": tuple(seed or given.seeds),
                "page": page or given.page,
                "results": results or given.results,
            }
        )
        check_page(given.page, given.block)
        check_output_file(given.results, is_ours=_is_ours, option="--results")
        arms = {
            name: load_recipe(given.recipe, overrides=[*(set_ or ()), *overrides])
            for name, overrides in given.arms.items()
        }
        _check(arms)
    words = ["python", "-m", "compress.studies.arms", str(study)]
    words += [word for one in seed or () for word in ("--seed", str(one))]
    words += [word for one in arm or () for word in ("--arm", one)]
    with exit_codes(failed=(StepFailed,)), held(out):
        _Comparison(given, arms, out=out, cache=cache, command=shlex.join(words)).run()


def read_study(path: Path) -> Study:
    """A study; raises FileNotFoundError, and ValueError for a file that is not one."""
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{path}: {faults}") from None


def _chosen(arms: Mapping[str, tuple[str, ...]], names: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    unknown = sorted(set(names or ()) - set(arms))
    if unknown:
        raise ValueError(f"--arm {unknown[0]!r}: the study has the arms {', '.join(arms)}")
    first = next(iter(arms))
    return {name: arms[name] for name in arms if not names or name in (first, *names)}


def _check(arms: Mapping[str, Recipe]) -> None:
    """Raises ValueError for recipes whose stages or data differ, because their figures are not comparable."""
    first, *others = arms.values()
    for name, recipe in zip(list(arms)[1:], others, strict=True):
        if recipe.data != first.data:
            raise ValueError(f"arm {name!r}: its data differ from those of the first arm")
        if [one.verb for one in recipe.stages] != [one.verb for one in first.stages]:
            raise ValueError(f"arm {name!r}: its stages differ from those of the first arm")
    if len(getattr(first.data, "labels", ("label",))) != 1:
        raise ValueError("the recipe has several label columns; a study compares one")


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return {"arms", "students", "teachers", "stages"} <= set(content)


class _Comparison:
    """The arms of a study and the figures so far."""

    def __init__(
        self, study: Study, arms: Mapping[str, Recipe], *, out: Path, cache: Path, command: str
    ) -> None:
        self._study, self._arms, self._out, self._cache, self._command = study, arms, out, cache, command
        self._console = output()
        self._data: list[tuple[Recipe, Data]] = []
        self._students: list[dict[str, Any]] = []
        self._taught: dict[str, list[StageOutcome]] = {}

    def run(self) -> None:
        """Trains and measures everything."""
        total = len(self._study.seeds) * len(self._arms)
        for number in self._study.seeds:
            for name in self._arms:
                title = f"{name}, seed {number} ({len(self._students) + 1} of {total})"
                self._console.print(Rule(Text(title)))
                self._students.append(self._student(name, number))
            figures = self._figures()
            write_output_file(self._study.results, json.dumps(figures, indent=1) + "\n", option="--results")
            write_page(self._study.page, self._study.block, figures)

    def _student(self, name: str, seed: int) -> dict[str, Any]:
        teachers = self._teachers(name)
        run = self._run(name, f"seed_{seed}", seed=seed)
        first = start(run, teachers)
        made = run_stages(run, teachers, first)
        made = made or ([first] if first else [])
        networks = networks_by_scheme(run.recipe.schemes, made)
        exported = export(run, networks)
        files = [file_id(row) for row in exported.rows if row["status"] == "exported"]
        clips = run.data.test.for_spec(made[-1].artifact.spec)
        measured = evaluate(read_export(exported.folder).only(files), clips) if files else []
        failed = {str(file_id(row)): row["reason"] for row in exported.rows if row["status"] != "exported"}
        failed |= {str(one.id): one.unavailable for one in measured if one.unavailable is not None}
        column = made[-1].artifact.spec.outputs[0]
        return {
            "arm": name,
            "seed": seed,
            "stages": [
                {
                    "path": one.path,
                    "top1": _top1(one),
                    "parameters": one.record["after"]["parameters"],
                    "macs": one.record["after"]["macs"],
                    "seconds": round(one.record["seconds"]),
                    "correct": _correct(one.test_logits[0].numpy(), run.data),
                }
                for one in made
            ],
            "last_float": max(k for k, one in enumerate(made) if one.artifact.form is Form.FLOAT),
            "files": {
                str(one.id): {"correct": _correct(one.logits[column], run.data)}
                for one in measured
                if one.unavailable is None
            },
            "failed": failed,
        }

    def _teachers(self, name: str) -> list[StageOutcome]:
        if name not in self._taught and self._arms[name].named_teachers:
            self._taught[name] = make_teachers(self._run(name, "teacher"))
        return self._taught.get(name, [])

    def _run(self, name: str, part: str, **changes: Any) -> Run:
        """A run of an arm in its own folder, which adopts equal results of the other arms."""
        recipe = self._arms[name].model_copy(update=changes)
        return Run(
            recipe=recipe,
            data=self._data_of(recipe),
            folder=self._folder(name, part),
            cache=self._cache,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            console=self._console,
            finished=tuple(self._folder(other, part) for other in self._arms if other != name),
        )

    def _folder(self, name: str, part: str) -> Path:
        return self._out / name.replace(" ", "_") / part

    def _data_of(self, recipe: Recipe) -> Data:
        for one, data in self._data:
            if (one.clip, _geometries(one)) == (recipe.clip, _geometries(recipe)):
                return data
        data = open_data(
            recipe.data,
            recipe.clip,
            cache=self._cache,
            workers=1,
            seed=next(iter(self._arms.values())).seed,
            console=self._console,
            also=_geometries(recipe),
        )
        self._data.append((recipe, data))
        return data

    def _figures(self) -> dict[str, Any]:
        """All figures: shares are 0..1, gains in points."""
        recipe = next(iter(self._arms.values()))
        data = self._data[0][1]
        rows = [str(row.path) for row in data.test.rows]
        stages = [one["path"] for one in self._students[0]["stages"]]
        return {
            "command": self._command,
            "recipe": recipe.name,
            "overrides": {name: list(given) for name, given in self._study.arms.items()},
            "arms": {name: one.to_dict() for name, one in self._arms.items()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "measured": time.strftime("%Y-%m-%d"),
            "clips": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
            "classes": len(data.spec.labels[0].classes),
            "teachers": {
                name: [self._teacher(one, data) for one in teachers]
                for name, teachers in self._taught.items()
            },
            "stages": stages,
            "students": [_without_clips(one) for one in self._students],
            "gains": {
                path: {
                    name: gain(self._of(name, index), self._of(next(iter(self._arms)), index), files=rows)
                    for name in list(self._arms)[1:]
                }
                for index, path in enumerate(stages)
            },
            "losses": {name: self._losses(name, rows) for name in self._arms},
        }

    @staticmethod
    def _teacher(outcome: StageOutcome, data: Data) -> dict[str, Any]:
        return {
            "inputs": list(outcome.artifact.spec.inputs),
            "top1": _top1(outcome),
            "ci95": accuracy_of(outcome.test_logits[0], data.test.labels[:, 0]).interval,
            "parameters": outcome.record["after"]["parameters"],
            "seconds": round(outcome.record["seconds"]),
        }

    def _of(self, name: str, index: int) -> np.ndarray:
        return np.array([one["stages"][index]["correct"] for one in self._students if one["arm"] == name])

    def _losses(self, name: str, rows: list[str]) -> dict[str, Any]:
        """Change of top-1 from the last float network to every file, over the seeds that have it."""
        mine = [one for one in self._students if one["arm"] == name]
        found = {}
        for file in dict.fromkeys(file for one in mine for file in one["files"]):
            having = [one for one in mine if file in one["files"]]
            floats = [one["stages"][one["last_float"]]["correct"] for one in having]
            files = [one["files"][file]["correct"] for one in having]
            found[file] = gain(np.array(files), np.array(floats), files=rows)
        return found


def _top1(outcome: StageOutcome) -> float:
    top1: float = outcome.accuracy[0].top1
    return top1


def _correct(logits: np.ndarray, data: Data) -> list[int]:
    found: list[int] = correct_predictions(logits, data.test.labels[:, 0].numpy()).astype(int).tolist()
    return found


def _geometries(recipe: Recipe) -> list[Any]:
    return list(geometries(recipe.named_teachers.values(), recipe.clip))


def _without_clips(student: Mapping[str, Any]) -> dict[str, Any]:
    """A student's figures without those of single clips."""

    def thin(row: Mapping[str, Any]) -> dict[str, Any]:
        correct = row["correct"]
        return {**{k: v for k, v in row.items() if k != "correct"}, "top1": float(np.mean(correct))}

    return {
        **student,
        "stages": [thin(one) for one in student["stages"]],
        "files": {name: thin(one) for name, one in student["files"].items()},
    }


if __name__ == "__main__":
    run_command(main, resume=Resume())

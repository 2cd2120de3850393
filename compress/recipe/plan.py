"""The plan of a run: its steps, listed before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from compress.device_entries import named
from compress.figures import exact
from compress.recipe.faults import listed
from compress.recipe.sections import (
    AnyStudent,
    AnyTeacher,
    DeviceTarget,
    ExportConfig,
    FactoryTeacher,
    FileTeacher,
    Recipe,
    StudentConfig,
    TeacherStudent,
)
from export.files import left_out, pairs


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a run."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a run in order; rich prints it as a table."""

    name: str
    steps: tuple[Step, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One numbered row for each step."""
        table = Table(title=Text(f"Plan of {self.name}"), title_justify="left", box=None, pad_edge=False)
        table.add_column("", justify="right", style="dim")
        table.add_column("Step", style="bold", no_wrap=True)
        table.add_column("Description", overflow="fold")
        for number, step in enumerate(self.steps, start=1):
            table.add_row(str(number), Text(step.name), Text(step.description))
        yield table


def plan(recipe: Recipe) -> Plan:
    """The steps of a run of this recipe."""
    return Plan(name=recipe.name, steps=tuple(_steps(recipe)))


def _steps(recipe: Recipe) -> Iterator[Step]:
    yield Step(name="clips", description=f"{_settings(recipe.data)}; {_settings(recipe.clip)}")
    for name, teacher in recipe.named_teachers.items():
        yield Step(name=name, description=_teacher(teacher))
    yield Step(name="student", description=_student(recipe.student))
    taught = _settings(recipe.distillation) if recipe.named_teachers else ""
    for stage in recipe.stages:
        own = _settings(stage.config) or "with its defaults"
        yield Step(name=stage.verb, description=f"{own}; {taught}" if taught and stage.trains else own)
    if recipe.export.formats:
        written = [f"{name} in {scheme}" for name, scheme in pairs(recipe.export.formats, recipe.schemes)]
        missing = left_out(recipe.export.formats, recipe.schemes)
        chosen = _forms(recipe.export)
        yield Step(name="export", description="; ".join([listed(written), *missing, *chosen]))
        measured = "top-1 on the test split, size, latency and memory of each file through its own runtime"
        yield Step(name="benchmark", description=f"{measured} on {_settings(recipe.benchmark, every=True)}")
    if recipe.robustness is not None:
        corrupted = "top-1 on corrupted test clips of teacher, student and files"
        yield Step(
            name="robustness",
            description=f"{corrupted}: {_settings(recipe.robustness) or 'with its defaults'}",
        )
    limits = listed(
        f"{gate.metric} {'>=' if gate.max is None else '<='} {exact(gate.limit)}" for gate in recipe.gates
    )
    yield Step(name="report", description=f"report.json, report.md, report.html; gates: {limits or 'none'}")


def _forms(export: ExportConfig) -> list[str]:
    """How the forms of files are chosen, unless it is the default."""
    if export.forms is not None:
        return [f"forms pinned by {export.forms}"]
    if isinstance(export.target, DeviceTarget):
        return [f"forms measured on {named(export.target.device)[0]}"]
    return [] if export.target is None else [f"forms for {export.target}"]


def _teacher(teacher: AnyTeacher) -> str:
    if isinstance(teacher, FactoryTeacher):
        what = f"{teacher.factory} with the weights {teacher.weights}"
    elif isinstance(teacher, FileTeacher):
        what = f"{teacher.file} for {listed(teacher.outputs)}"
    else:
        what = f"train {teacher.network}"
        if teacher.tasks:
            what += f" on {listed(teacher.tasks)} ({teacher.weighting} weights)"
        what += f": {_settings(teacher.train)}"
        what += _pretrained(teacher.pretrained)
    shared = [name for name in ("clip", "cache", "weight") if name in teacher.model_fields_set]
    return "; ".join([what, *(f"{name} {_value(getattr(teacher, name))}" for name in shared)])


def _student(student: AnyStudent) -> str:
    if isinstance(student, TeacherStudent):
        return "the teacher itself"
    text = f"{student.title} on {listed(student.inputs)}"
    if isinstance(student, StudentConfig):
        text += f": {_options(student.options)}" + ("; also one frame at a time" if student.stream else "")
        text += _pretrained(student.pretrained)
    return text if student.weights is None else f"{text}; weights {student.weights}"


def _pretrained(weights: object) -> str:
    return "" if weights is None else f"; starts with the public weights {weights}"


def _settings(section: BaseModel, *, every: bool = False) -> str:
    """The settings in the recipe, or all with their defaults: `epochs 12, temperature 3`."""
    names = [name for name in type(section).model_fields if every or name in section.model_fields_set]
    return listed(f"{name.replace('_', ' ')} {_value(getattr(section, name))}" for name in names)


def _options(options: object) -> str:
    return listed(f"{name.replace('_', ' ')} {_value(value)}" for name, value in vars(options).items())


def _value(value: object) -> str:
    if isinstance(value, BaseModel):
        return f"({_settings(value) or 'with its defaults'})"
    if is_dataclass(value):
        changed = [one.name for one in fields(value) if getattr(value, one.name) != one.default]
        text = listed(f"{name.replace('_', ' ')} {_value(getattr(value, name))}" for name in changed)
        return f"({text or 'with its defaults'})"
    if isinstance(value, Mapping):
        return " and ".join(f"{key} {_value(one)}" for key, one in value.items())
    if isinstance(value, tuple | list):
        return "+".join(_value(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return exact(value) if isinstance(value, float) else str(value)

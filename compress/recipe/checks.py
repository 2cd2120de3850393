"""Step 4: faults that only show across sections: impossible orders, inputs that nobody has, files that are gone.

Each check says nothing about parts that are not valid themselves; those faults are already known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.clips.corruptions import CORRUPTIONS
from compress.artifact import Form
from compress.distillation import LOSSES
from compress.factory import import_factory
from compress.gates import GateConfig, metric_names, renamed
from compress.recipe.faults import Fault, listed, nearest
from compress.recipe.networks import check_networks
from compress.recipe.sections import (
    BenchmarkConfig,
    ExportConfig,
    FactoryTeacher,
    StageEntry,
    TableTeacher,
    paths_in,
    schemes_of,
)
from compress.recipe.source import Place, path_text
from compress.recipe.wording import no_such_file
from compress.stages import STAGES
from compress.tasks import RETRIEVAL
from export import EXPORTERS, INT8_SCHEMES
from models import STUDENTS, TEACHERS
from models.spec import MODALITIES


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The valid parts of a recipe; a section with faults is absent, a list entry with faults is None."""

    sections: dict[str, Any]
    verbs: list[str | None]
    """The verb of every stage, also of one whose settings have faults."""
    stages: list[StageEntry | None]
    gates: list[GateConfig | None]


def check(parts: Parts, *, line: Callable[[Place], int | None]) -> list[Fault]:
    """All faults that show across the parts. `line` finds the line of a place in the file."""
    found = (problem for one in _CHECKS for problem in one(parts))
    return [
        Fault(path=path_text(place), problem=problem, line=line(place), **more)
        for place, problem, more in found
    ]


_Found = Iterator[tuple[Place, str, dict[str, str | None]]]


def _stage_order(parts: Parts) -> _Found:
    """Every stage gets the form that it takes, and a student that something has trained."""
    form, quantized_at, trained = Form.FLOAT, "", False
    for index, verb in enumerate(parts.verbs):
        if verb not in STAGES:
            continue
        stage, place = STAGES[verb], ("stages", index, verb)
        if stage.takes != form:
            yield (
                place,
                f"takes a {stage.takes} network, but {quantized_at} gives a {form} one; move it before",
                {},
            )
        elif stage.needs_training and not trained:
            yield place, "nothing has trained the student yet; put a distill stage before", {}
        if stage.needs_teacher and parts.sections.get("teacher", ...) is None:
            yield place, "needs a teacher, and the recipe has no section teacher", {}
        if stage.takes == form != stage.gives:
            form, quantized_at = stage.gives, path_text(place)
        trained = trained or not stage.needs_training


def _formats(parts: Parts) -> _Found:
    """Nothing is given twice; formats and schemes have partners; there is a network for each scheme."""
    export = parts.sections.get("export")
    if export is None:
        return
    for key, values in (("formats", export.formats), ("schemes", export.schemes or ())):
        for index, value in enumerate(values):
            if value in values[:index]:
                yield ("export", key, index), f"{key.removesuffix('s')} given twice", {"given": value}
    if None in parts.stages:
        return
    schemes = schemes_of(export, [entry.config for entry in parts.stages if entry])
    for index, name in enumerate(export.formats):
        if not set(schemes) & set(EXPORTERS[name].schemes):
            problem = f"{name} files cannot hold {' or '.join(schemes)}"
            yield ("export", "formats", index), problem, {"allowed": listed(EXPORTERS[name].schemes)}
    for index, scheme in enumerate(export.schemes or ()):
        place: Place = ("export", "schemes", index)
        able = [name for name, row in EXPORTERS.items() if scheme in row.schemes]
        if not set(able) & set(export.formats):
            yield place, f"no format of the recipe takes {scheme}", {"allowed": f"formats {listed(able)}"}
        quantized = [getattr(entry.config, "scheme", None) for entry in parts.stages if entry]
        if scheme in INT8_SCHEMES and scheme not in quantized:
            yield place, f"nothing gives a {scheme} network; add the stage quantize", {"given": scheme}


def _inputs(parts: Parts) -> _Found:
    """Teacher and student are given what the clips have and what their networks take."""
    for key, table in (("teacher", TEACHERS), ("student", STUDENTS)):
        section, clip = parts.sections.get(key), parts.sections.get("clip")
        if section is None or section.inputs is None:
            continue
        has = None if clip is None else [name for name in MODALITIES if getattr(clip, name, True) is not None]
        takes = None if isinstance(section, FactoryTeacher) else table[section.network].inputs
        for index, name in enumerate(section.inputs):
            place: Place = (key, "inputs", index)
            if name in section.inputs[:index]:
                yield place, "input given twice", {"given": name}
            elif has is not None and name not in has:
                problem = f"the clips have no {name}; give the section clip a key {name}"
                yield place, problem, {"given": name, "allowed": listed(has)}
            elif takes is not None and name not in takes:
                yield place, f"{section.network} does not take it", {"given": name, "allowed": listed(takes)}


def _robustness(parts: Parts) -> _Found:
    """Every corruption changes something that the clips have, and nothing is measured twice."""
    section, clip = parts.sections.get("robustness"), parts.sections.get("clip")
    if section is None:
        return
    for key in ("corruptions", "severities"):
        values = getattr(section, key) or ()
        for index, value in enumerate(values):
            if value in values[:index]:
                yield ("robustness", key, index), "given twice", {"given": str(value)}
    for index, name in enumerate(section.corruptions or ()):
        modality = CORRUPTIONS[name].modality
        if clip is not None and getattr(clip, modality, True) is None:
            problem = (
                f"the clips have no {modality}, which it corrupts; give the section clip a key {modality}"
            )
            yield ("robustness", "corruptions", index), problem, {"given": name}


def _label_columns(parts: Parts) -> _Found:
    """The student learns label columns that the data has."""
    data, student = parts.sections.get("data"), parts.sections.get("student")
    if data is None or student is None or student.labels is None:
        return
    for index, name in enumerate(student.labels):
        place: Place = ("student", "labels", index)
        if name in student.labels[:index]:
            yield place, "label column given twice", {"given": name}
        elif name not in data.labels:
            close = nearest(name, data.labels)
            more = {"given": name, "allowed": listed(data.labels), "nearest": close}
            yield place, "the data has no such label column", more


def _tasks(parts: Parts) -> _Found:
    """The teacher learns what the data has, and some of what the student does."""
    data, teacher = parts.sections.get("data"), parts.sections.get("teacher")
    if data is None or not isinstance(teacher, TableTeacher):
        return
    if teacher.pretrained is not None and teacher.network != "modular":
        problem = f"{teacher.network} has no video encoder with public weights; use the network modular"
        yield ("teacher", "pretrained"), problem, {"given": str(teacher.pretrained)}
    if teacher.tasks is None:
        return
    known = [*data.labels, *data.tags, RETRIEVAL]
    for name in teacher.tasks:
        if name not in known:
            more = {"allowed": listed(known), "nearest": nearest(name, known)}
            yield ("teacher", "tasks", name), "the data has no column for such a task", more
    place: Place = ("teacher", "tasks")
    taught = [name for name in teacher.tasks if name in data.labels]
    student = parts.sections.get("student")
    learned = data.labels if student is None or student.labels is None else student.labels
    if not set(taught) & set(learned):
        problem = "the teacher learns no label column that the student learns"
        yield place, problem, {"given": listed(teacher.tasks), "allowed": f"one or more of {listed(learned)}"}
    clip = parts.sections.get("clip")
    if RETRIEVAL in teacher.tasks and clip is not None:
        inputs = teacher.inputs or [name for name in MODALITIES if getattr(clip, name, True) is not None]
        if "text" not in inputs or set(inputs) == {"text"}:
            problem = "compares captions with what is seen or heard, and the teacher does not get both"
            given = f"inputs {listed(inputs)}"
            yield (
                ("teacher", "tasks", RETRIEVAL),
                problem,
                {"given": given, "allowed": "text and clip or audio"},
            )


def _stream(parts: Parts) -> _Found:
    """Only a causal student runs one frame at a time."""
    student = parts.sections.get("student")
    if student is not None and student.stream and not STUDENTS[student.network].streams:
        able = listed(name for name, row in STUDENTS.items() if row.streams)
        problem = f"{student.network} needs whole clips and cannot stream; choose a causal network"
        yield ("student", "stream"), problem, {"allowed": able}


def _files(parts: Parts) -> _Found:
    """Every file and folder that the recipe names is there."""
    for key in ("data", "teacher"):
        section = parts.sections.get(key)
        for place, path in paths_in(section, (key,)) if section is not None else ():
            if not path.exists():
                yield place, no_such_file(str(path.absolute())), {"given": str(path)}


def _factory(parts: Parts) -> _Found:
    """The user's factory can be imported and called."""
    teacher = parts.sections.get("teacher")
    if not isinstance(teacher, FactoryTeacher):
        return
    try:
        import_factory(teacher.factory)
    except Exception as error:  # importing runs the user's module: anything may come out of it
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        yield ("teacher", "factory"), f"{kind}{error}", {}


def _losses(parts: Parts) -> _Found:
    """A loss that looks at features of the student finds them in every stage that trains."""
    section = parts.sections.get("distillation")
    rounded = [
        (index, entry.verb)
        for index, entry in enumerate(parts.stages)
        if entry is not None and entry.trains and STAGES[entry.verb].gives is Form.QUANTIZED
    ]
    if section is None or parts.sections.get("teacher") is None or not rounded:
        return
    index, verb = rounded[0]
    for name in section.losses:
        if LOSSES[name].student_features:
            problem = (
                f"looks at features of the student, and stages.{index}.{verb} trains a graph that has none; take "
                "mode ptq, or losses of logits alone"
            )
            allowed = listed(other for other, row in LOSSES.items() if not row.student_features)
            yield ("distillation", "losses", name), problem, {"allowed": allowed}


def _networks(parts: Parts) -> _Found:
    """Teacher and student can be built for the clips, and trained within the memory of a machine."""
    teacher = parts.sections.get("teacher")
    batches: dict[Place, int] = {}
    if isinstance(teacher, TableTeacher):
        batches["teacher", "train", "batch"] = teacher.train.batch
    for index, entry in enumerate(parts.stages):
        if entry is not None and entry.trains:  # calibration keeps nothing for a way back
            batches["stages", index, entry.verb, "batch"] = getattr(entry.config, "batch", 1)
    data, clip, student = (parts.sections.get(key) for key in ("data", "clip", "student"))
    if list(_inputs(parts)) or list(_label_columns(parts)) or list(_tasks(parts)):
        return  # Said already, in better words.
    yield from check_networks(data=data, clip=clip, teacher=teacher, student=student, batches=batches)


def _metrics(parts: Parts) -> _Found:
    """Every gate names a figure that the report will have."""
    data, student = (parts.sections.get(key) for key in ("data", "student"))
    export = parts.sections.get("export") or ExportConfig()
    measured = parts.sections.get("benchmark") or BenchmarkConfig()
    columns = tuple(getattr(data, "labels", ()))
    learned = tuple(getattr(student, "labels", None) or columns)
    models = {"student_float": learned}
    teacher = parts.sections.get("teacher", ...)
    if teacher is not None:
        tasks = getattr(teacher, "tasks", None)
        models["teacher"] = columns if tasks is None else tuple(name for name in columns if name in tasks)
    if any(entry is None or getattr(entry.config, "baseline", False) for entry in parts.stages):
        models["student_labels_only"] = learned
    if any(verb in STAGES and STAGES[verb].gives is Form.QUANTIZED for verb in parts.verbs if verb):
        models["student_quantized"] = learned
    schemes = schemes_of(export, [entry.config for entry in parts.stages if entry])
    names = metric_names(
        files=[
            (name, scheme)
            for name in export.formats
            for scheme in schemes
            if scheme in EXPORTERS[name].schemes
        ],
        devices=[measured.device],
        models=models,
        stages=len(parts.verbs),
        labels=learned,
    )
    for index, gate in enumerate(parts.gates):
        if gate is None or gate.metric in names:
            continue
        new = renamed(gate.metric, scheme=schemes[-1], device=measured.device)
        close = nearest(gate.metric, names) if new is None else new
        problem = "the report will have no such figure"
        if new is not None:
            problem = "files are named by format and scheme, and time and memory by device, too"
        more = {"given": gate.metric, "allowed": _siblings(gate.metric, names), "nearest": close}
        yield ("gates", index, "metric"), problem, more


def _siblings(metric: str, names: list[str]) -> str:
    """The figures beside the one that was meant, as far as its path is right."""
    parts = metric.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        prefix = ".".join((*parts[:depth], ""))[: -1 if not depth else None]
        close = [name for name in names if name.startswith(prefix)]
        if close:
            words = list(dict.fromkeys(name.removeprefix(prefix).split(".")[0] for name in close))
            return f"{prefix}{{{listed(words)}}}" if depth else listed(words)
    return listed(names)


_CHECKS = (
    _stage_order,
    _formats,
    _inputs,
    _stream,
    _label_columns,
    _tasks,
    _robustness,
    _files,
    _losses,
    _networks,
    _factory,
    _metrics,
)

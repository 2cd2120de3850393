"""Step 4: validation across sections: order of stages, available inputs, existing files.

Each check ignores invalid parts, whose faults are already known.
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
from compress.recipe.networks import check_networks, module_names
from compress.recipe.sections import (
    BenchmarkConfig,
    ExportConfig,
    FactoryStudent,
    FactoryTeacher,
    StageEntry,
    StudentConfig,
    TableTeacher,
    TeacherStudent,
    paths_in,
    schemes_of,
)
from compress.recipe.source import Place, path_text
from compress.recipe.wording import no_such_file
from compress.stages import STAGES
from compress.tasks import RETRIEVAL
from export import EXPORTERS, INT8_SCHEMES
from export.quantize.layer_names import unmatched
from models import STUDENTS, TEACHERS
from models.spec import MODALITIES


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The valid parts of a recipe; a section with faults is absent, a list entry with faults is None."""

    sections: dict[str, Any]
    verbs: list[str | None]
    """The verb of every stage, also with invalid settings."""
    stages: list[StageEntry | None]
    gates: list[GateConfig | None]


def check(parts: Parts, *, line: Callable[[Place], int | None]) -> list[Fault]:
    """All faults across the parts. `line` returns the line of a place in the file."""
    found = (problem for one in _CHECKS for problem in one(parts))
    return [
        Fault(path=path_text(place), problem=problem, line=line(place), **more)
        for place, problem, more in found
    ]


_Found = Iterator[tuple[Place, str, dict[str, str | None]]]


def _stage_order(parts: Parts) -> _Found:
    """Every stage gets a network of its form, and a trained student where it needs one."""
    student = parts.sections.get("student")
    form, quantized_at, trained = Form.FLOAT, "", student is not None and student.is_trained
    for index, verb in enumerate(parts.verbs):
        if verb not in STAGES:
            continue
        stage, place = STAGES[verb], ("stages", index, verb)
        if stage.takes != form:
            yield (
                place,
                f"takes a {stage.takes} network, but {quantized_at} outputs a {form} one; move it before",
                {},
            )
        elif stage.needs_training and not trained:
            yield place, "the student is not trained yet; add a distill stage before, or give its weights", {}
        if stage.needs_teacher and parts.sections.get("teacher", ...) is None:
            yield place, "needs a teacher, but the recipe has no section teacher", {}
        if stage.takes == form != stage.gives:
            form, quantized_at = stage.gives, path_text(place)
        trained = trained or not stage.needs_training


def _formats(parts: Parts) -> _Found:
    """No duplicates; every format has a scheme and vice versa; every scheme has a network."""
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
            problem = f"{name} files do not support {' or '.join(schemes)}"
            yield ("export", "formats", index), problem, {"allowed": listed(EXPORTERS[name].schemes)}
    for index, scheme in enumerate(export.schemes or ()):
        place: Place = ("export", "schemes", index)
        able = [name for name, row in EXPORTERS.items() if scheme in row.schemes]
        if not set(able) & set(export.formats):
            yield place, f"no format of the recipe supports {scheme}", {"allowed": f"formats {listed(able)}"}
        quantized = [getattr(entry.config, "scheme", None) for entry in parts.stages if entry]
        if scheme in INT8_SCHEMES and scheme not in quantized:
            yield place, f"no stage outputs a {scheme} network; add the stage quantize", {"given": scheme}


def _inputs(parts: Parts) -> _Found:
    """The inputs of teacher and student exist in the clips and are supported by their networks."""
    for key, table in (("teacher", TEACHERS), ("student", STUDENTS)):
        section, clip = parts.sections.get(key), parts.sections.get("clip")
        if section is None or section.inputs is None:
            continue
        has = None if clip is None else [name for name in MODALITIES if getattr(clip, name, True) is not None]
        takes = table[section.network].inputs if hasattr(section, "network") else None
        for index, name in enumerate(section.inputs):
            place: Place = (key, "inputs", index)
            if name in section.inputs[:index]:
                yield place, "input given twice", {"given": name}
            elif has is not None and name not in has:
                problem = f"the clips have no {name}; add the key {name} to the section clip"
                yield place, problem, {"given": name, "allowed": listed(has)}
            elif takes is not None and name not in takes:
                yield place, f"{section.network} does not take it", {"given": name, "allowed": listed(takes)}


def _robustness(parts: Parts) -> _Found:
    """Every corruption applies to an input of the clips; no duplicates."""
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
                f"the clips have no {modality}, which it corrupts; add the key {modality} to the section clip"
            )
            yield ("robustness", "corruptions", index), problem, {"given": name}


def _label_columns(parts: Parts) -> _Found:
    """The label columns of the student exist in the data."""
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
    """The tasks of the teacher exist in the data and include a label column of the student."""
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
            yield ("teacher", "tasks", name), "the data has no column for this task", more
    place: Place = ("teacher", "tasks")
    taught = [name for name in teacher.tasks if name in data.labels]
    student = parts.sections.get("student")
    learned = data.labels if student is None or student.labels is None else student.labels
    if not set(taught) & set(learned):
        problem = "the teacher shares no label column with the student"
        yield place, problem, {"given": listed(teacher.tasks), "allowed": f"one or more of {listed(learned)}"}
    clip = parts.sections.get("clip")
    if RETRIEVAL in teacher.tasks and clip is not None:
        inputs = teacher.inputs or [name for name in MODALITIES if getattr(clip, name, True) is not None]
        if "text" not in inputs or set(inputs) == {"text"}:
            problem = "compares captions with video or audio, but the teacher does not have both inputs"
            given = f"inputs {listed(inputs)}"
            yield (
                ("teacher", "tasks", RETRIEVAL),
                problem,
                {"given": given, "allowed": "text and clip or audio"},
            )


def _stream(parts: Parts) -> _Found:
    """Only a causal student can stream."""
    student = parts.sections.get("student")
    if isinstance(student, StudentConfig) and student.stream and not STUDENTS[student.network].streams:
        able = listed(name for name, row in STUDENTS.items() if row.streams)
        problem = f"{student.network} needs whole clips and cannot stream; choose a causal network"
        yield ("student", "stream"), problem, {"allowed": able}


def _files(parts: Parts) -> _Found:
    """Every file and folder in the recipe exists."""
    for key in ("data", "teacher", "student"):
        section = parts.sections.get(key)
        for place, path in paths_in(section, (key,)) if section is not None else ():
            if not path.exists():
                yield place, no_such_file(str(path.absolute())), {"given": str(path)}


def _factory(parts: Parts) -> _Found:
    """The user's factories can be imported and called."""
    for key in ("teacher", "student"):
        section = parts.sections.get(key)
        if not isinstance(section, FactoryTeacher | FactoryStudent):
            continue
        try:
            import_factory(section.factory)
        except Exception as error:  # importing user code may raise anything
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            yield (key, "factory"), f"{kind}{error}", {}


def _from_teacher(parts: Parts) -> _Found:
    """A student that is the teacher has a teacher, which learns label columns only."""
    if not isinstance(parts.sections.get("student"), TeacherStudent) or "teacher" not in parts.sections:
        return
    teacher, data = parts.sections["teacher"], parts.sections.get("data")
    if teacher is None:
        yield ("student", "from"), "the recipe has no section teacher", {}
    elif data is not None and not set(getattr(teacher, "tasks", None) or ()) <= set(data.labels):
        problem = "exported files have label columns only, but the teacher has other tasks"
        yield ("teacher", "tasks"), problem, {"allowed": listed(data.labels)}


def _losses(parts: Parts) -> _Found:
    """A loss on features of the student finds them in all training stages."""
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
                f"needs features of the student, but stages.{index}.{verb} trains a graph without modules; use "
                "mode ptq, or only losses on logits"
            )
            allowed = listed(other for other, row in LOSSES.items() if not row.student_features)
            yield ("distillation", "losses", name), problem, {"allowed": allowed}


def _networks(parts: Parts) -> _Found:
    """Teacher and student can be built for the clips and trained in the memory of this machine."""
    teacher = parts.sections.get("teacher")
    batches: dict[Place, int] = {}
    if isinstance(teacher, TableTeacher):
        batches["teacher", "train", "batch"] = teacher.train.batch
    for index, entry in enumerate(parts.stages):
        if entry is not None and entry.trains:  # calibration needs no backward pass
            batches["stages", index, entry.verb, "batch"] = getattr(entry.config, "batch", 1)
    data, clip, student = (parts.sections.get(key) for key in ("data", "clip", "student"))
    if list(_inputs(parts)) or list(_label_columns(parts)) or list(_tasks(parts)):
        return  # already reported with a better message
    yield from check_networks(data=data, clip=clip, teacher=teacher, student=student, batches=batches)


def _float_layers(parts: Parts) -> _Found:
    """Every pattern of layers to keep in float matches a module of the student, and the data has validation."""
    for index, entry in enumerate(parts.stages):
        patterns = getattr(entry.config, "float_layers", ()) if entry is not None else ()
        if not patterns:
            continue
        assert entry is not None
        data, clip, teacher, student = (
            parts.sections.get(key) for key in ("data", "clip", "teacher", "student")
        )
        names = module_names(data=data, clip=clip, teacher=teacher, student=student)  # type: ignore[arg-type]
        for position, problem in unmatched(patterns, names) if names is not None else ():
            place: Place = ("stages", index, entry.verb, "float_layers", position)
            yield place, problem, {"given": patterns[position]}


def _metrics(parts: Parts) -> _Found:
    """The metric of every gate will be in the report."""
    data, student = (parts.sections.get(key) for key in ("data", "student"))
    export = parts.sections.get("export") or ExportConfig()
    measured = parts.sections.get("benchmark") or BenchmarkConfig()
    columns = tuple(getattr(data, "labels", ()))
    teacher = parts.sections.get("teacher", ...)
    learned = tuple(getattr(student, "labels", None) or columns)
    if isinstance(student, TeacherStudent):
        learned = tuple(name for name in columns if name in (getattr(teacher, "tasks", None) or columns))
    models = {"student_float": learned}
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
            problem = "figures of files need format and scheme, time and memory also the device"
        more = {"given": gate.metric, "allowed": _siblings(gate.metric, names), "nearest": close}
        yield ("gates", index, "metric"), problem, more


def _siblings(metric: str, names: list[str]) -> str:
    """The valid metrics with the longest common path."""
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
    _from_teacher,
    _float_layers,
    _metrics,
)

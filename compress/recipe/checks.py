"""Step 4: validation across sections: order of stages, available inputs, existing files.

Each check ignores invalid parts, whose faults are already known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.clips.corruptions import CORRUPTIONS
from compress.factory import import_factory
from compress.recipe.faults import Fault, listed, nearest
from compress.recipe.layers import check_layers, without_layers
from compress.recipe.metric_checks import metrics
from compress.recipe.networks import check_networks
from compress.recipe.parts import Found, Parts
from compress.recipe.sections import (
    FactoryStudent,
    FactoryTeacher,
    FileTeacher,
    TableTeacher,
    output_scheme,
    paths_in,
    schemes_of,
)
from compress.recipe.source import Place, path_text
from compress.recipe.stage_checks import augmentations, dot, float_layers, runtimes, stage_order
from compress.recipe.student_checks import from_teacher, pretrained, stream
from compress.recipe.teacher_checks import (
    file_teachers,
    geometry,
    several_or_one,
    tasks,
    teachers_in,
)
from compress.recipe.wording import no_such_file
from export import EXPORTERS, INT8_SCHEMES
from export.pins import read_pins
from models import STUDENTS, TEACHERS
from models.spec import MODALITIES


def check(parts: Parts, *, line: Callable[[Place], int | None]) -> list[Fault]:
    """All faults across the parts. `line` returns the line of a place in the file."""
    found = (problem for one in _CHECKS for problem in one(parts))
    return [
        Fault(path=path_text(place), problem=problem, line=line(place), **more)
        for place, problem, more in found
    ]


def _formats(parts: Parts) -> Found:
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
    schemes = schemes_of(export, [entry for entry in parts.stages if entry])
    for index, name in enumerate(export.formats):
        if not set(schemes) & set(EXPORTERS[name].schemes):
            problem = f"{name} files do not support {' or '.join(schemes)}"
            yield ("export", "formats", index), problem, {"allowed": listed(EXPORTERS[name].schemes)}
    for index, scheme in enumerate(export.schemes or ()):
        place: Place = ("export", "schemes", index)
        able = [name for name, row in EXPORTERS.items() if scheme in row.schemes]
        if not set(able) & set(export.formats):
            yield place, f"no format of the recipe supports {scheme}", {"allowed": f"formats {listed(able)}"}
        quantized = [output_scheme(entry) for entry in parts.stages if entry]
        if scheme in INT8_SCHEMES and scheme not in quantized:
            yield place, f"no stage outputs a {scheme} network; add the stage quantize", {"given": scheme}


def _forms(parts: Parts) -> Found:
    """Forms are chosen in one way, and the file of pinned ones can be read."""
    export = parts.sections.get("export")
    if export is None or export.forms is None:
        return
    if export.target is not None:
        problem = "pinned forms are taken whatever the target is; remove one of both"
        yield ("export", "forms"), problem, {"given": str(export.forms)}
        return
    try:
        read_pins(export.forms)
    except (OSError, ValueError) as error:
        yield ("export", "forms"), str(error), {"given": str(export.forms)}


def _inputs(parts: Parts) -> Found:
    """The inputs of teacher and student exist in the clips and are supported by their networks."""
    clip = parts.sections.get("clip")
    sections: list[tuple[Place, Any, Any]] = [
        (place, one, TEACHERS) for place, one in teachers_in(parts.sections)
    ]
    for key, section, table in [*sections, (("student",), parts.sections.get("student"), STUDENTS)]:
        if section is None or section.inputs is None:
            continue
        has = None if clip is None else [name for name in MODALITIES if getattr(clip, name, True) is not None]
        takes = table[section.network].inputs if hasattr(section, "network") else None
        is_mapping = isinstance(section.inputs, dict)
        for index, name in enumerate(section.inputs):
            place: Place = (*key, "inputs", name if is_mapping else index)
            if name in list(section.inputs)[:index]:
                yield place, "input given twice", {"given": name}
            elif has is not None and name not in has:
                problem = f"the clips have no {name}; add the key {name} to the section clip"
                yield place, problem, {"given": name, "allowed": listed(has)}
            elif takes is not None and name not in takes:
                yield place, f"{section.network} does not take it", {"given": name, "allowed": listed(takes)}


def _robustness(parts: Parts) -> Found:
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


def _label_columns(parts: Parts) -> Found:
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


def _of_teachers(parts: Parts) -> Found:
    """Number, geometry, files and tasks of the teachers."""
    for one in (several_or_one, geometry, file_teachers, tasks):
        yield from one(parts.sections)


def _files(parts: Parts) -> Found:
    """Every file and folder in the recipe exists."""
    sections = [((key,), parts.sections.get(key)) for key in ("data", "student")]
    for key, section in [*sections, *teachers_in(parts.sections)]:
        for place, path in paths_in(section, key) if section is not None else ():
            if not path.exists():
                yield place, no_such_file(str(path.absolute())), {"given": str(path)}


def _factory(parts: Parts) -> Found:
    """The user's factories can be imported and called."""
    for key, section in [*teachers_in(parts.sections), (("student",), parts.sections.get("student"))]:
        if not isinstance(section, FactoryTeacher | FactoryStudent):
            continue
        try:
            import_factory(section.factory)
        except Exception as error:  # importing user code may raise anything
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            yield (*key, "factory"), f"{kind}{error}", {}


def _layers(parts: Parts) -> Found:
    """The layers that distillation losses compare exist in student and teachers."""
    data, clip, student, settings = (
        parts.sections.get(key) for key in ("data", "clip", "student", "distillation")
    )
    teachers = teachers_in(parts.sections)
    trains = any(entry is None or entry.trains for entry in parts.stages)
    if settings is None or not trains:
        return
    if any(list(one(parts)) for one in (_inputs, _label_columns, _of_teachers)):
        return  # already reported with a better message
    for place, teacher in teachers:
        if isinstance(teacher, FileTeacher):
            yield from without_layers(settings, path_text((*place, "file")))
        else:
            yield from check_layers(settings, data=data, clip=clip, teacher=teacher, student=student)


def _networks(parts: Parts) -> Found:
    """Teacher and student can be built for the clips and trained in the memory of this machine."""
    batches: dict[Place, int] = {}
    for key, teacher in teachers_in(parts.sections):
        if isinstance(teacher, TableTeacher):
            batches[(*key, "train", "batch")] = teacher.train.batch
    for index, entry in enumerate(parts.stages):
        if entry is not None and entry.trains:  # calibration needs no backward pass
            batches["stages", index, entry.verb, "batch"] = getattr(entry.config, "batch", 1)
    data, clip, student = (parts.sections.get(key) for key in ("data", "clip", "student"))
    if any(list(one(parts)) for one in (_inputs, _label_columns, _of_teachers)):
        return  # already reported with a better message
    yield from check_networks(
        data=data, clip=clip, teachers=teachers_in(parts.sections), student=student, batches=batches
    )


_CHECKS = (
    stage_order,
    _formats,
    _forms,
    _inputs,
    stream,
    _label_columns,
    pretrained,
    _of_teachers,
    _robustness,
    _files,
    _layers,
    augmentations,
    dot,
    runtimes,
    _networks,
    _factory,
    from_teacher,
    float_layers,
    metrics,
)

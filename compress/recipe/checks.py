"""Step 4: validation across sections: order of stages, available inputs, existing files.

Each check ignores invalid parts, whose faults are already known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from benchmarks.clips.corruptions import CORRUPTIONS
from compress.artifact import Form
from compress.factory import import_factory
from compress.gates import GateConfig, metric_names, renamed
from compress.pruning.config import PruneConfig
from compress.recipe.augmentations import flips, masks, mixes, trainings_of
from compress.recipe.faults import Fault, listed, nearest
from compress.recipe.layers import check_layers, without_layers
from compress.recipe.networks import build_without_weights, check_networks
from compress.recipe.sections import (
    BenchmarkConfig,
    ExportConfig,
    FactoryStudent,
    FactoryTeacher,
    FileTeacher,
    StageEntry,
    StudentConfig,
    TableTeacher,
    TeacherStudent,
    output_scheme,
    paths_in,
    schemes_of,
)
from compress.recipe.source import Place, path_text
from compress.recipe.teacher_checks import (
    file_teachers,
    geometry,
    has_no_teacher,
    several_or_one,
    tasks,
    teachers_in,
)
from compress.recipe.wording import no_such_file
from compress.sources import SOURCES
from compress.stages import STAGES
from compress.versions import installed
from export import EXPORTERS, INT8_SCHEMES, QUANTIZED_BY_OTHERS
from export.quantize.layer_names import unmatched
from export.quantize.weight_only import WEIGHT_SCHEMES
from models import STUDENTS, TEACHERS
from models.checkpoints import LAYOUTS
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
    """Every stage gets a network of its form, and a trained student where it needs one.

    Several stages may quantize the last float network, each in its own scheme.
    """
    student = parts.sections.get("student")
    form, quantized_at, trained = Form.FLOAT, "", student is not None and student.is_trained
    for index, verb in enumerate(parts.verbs):
        if verb not in STAGES:
            continue
        stage, place = STAGES[verb], ("stages", index, verb)
        if stage.takes != form != stage.gives:
            yield (
                place,
                f"takes a {stage.takes} network, but {quantized_at} outputs a {form} one; move it before",
                {},
            )
        elif stage.needs_training and not trained:
            why = "the student is not trained yet; add a distill stage before, or give its weights"
            if getattr(student, "pretrained", None) is not None:
                why = (
                    "the classifiers of a pretrained student are not trained yet; add a distill stage before"
                )
            yield place, why, {}
        if stage.needs_teacher and has_no_teacher(parts.sections):
            yield place, "needs a teacher, but the recipe has no section teacher", {}
        if stage.takes == form != stage.gives:
            form, quantized_at = stage.gives, path_text(place)
        trained = trained or not stage.needs_training
    known: dict[str, str] = {}
    for index, entry in enumerate(parts.stages):
        scheme = None if entry is None else output_scheme(entry)
        if entry is None or scheme is None:
            continue
        if scheme in known:
            yield (
                ("stages", index, entry.verb, "scheme"),
                f"{known[scheme]} outputs {scheme} already; a run has one network per scheme",
                {"given": scheme},
            )
        known.setdefault(scheme, f"stages.{index}.{entry.verb}")


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


def _inputs(parts: Parts) -> _Found:
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


def _of_teachers(parts: Parts) -> _Found:
    """Number, geometry, files and tasks of the teachers."""
    for one in (several_or_one, geometry, file_teachers, tasks):
        yield from one(parts.sections)


def _stream(parts: Parts) -> _Found:
    """Only a causal student can stream."""
    student = parts.sections.get("student")
    if isinstance(student, StudentConfig) and student.stream and not STUDENTS[student.network].streams:
        able = listed(name for name, row in STUDENTS.items() if row.streams)
        problem = f"{student.network} needs whole clips and cannot stream; choose a causal network"
        yield ("student", "stream"), problem, {"allowed": able}
    export = parts.sections.get("export")
    for index, scheme in enumerate(getattr(export, "schemes", None) or ()):
        if scheme in QUANTIZED_BY_OTHERS and getattr(student, "stream", False):
            problem = f"{scheme} files have no step program, and the student streams; use w8a8"
            yield ("export", "schemes", index), problem, {"given": scheme}
    for index, entry in enumerate(parts.stages):
        scheme = None if entry is None else output_scheme(entry)
        if entry is not None and scheme in WEIGHT_SCHEMES and getattr(student, "stream", False):
            problem = (
                f"rounds the weights of whole clips alone; leave out this stage, and write {scheme} files of the "
                "streaming student by export.schemes"
            )
            yield ("stages", index, entry.verb, "scheme"), problem, {"given": scheme, "allowed": "w8a8"}


def _pretrained(parts: Parts) -> _Found:
    """A student with public weights is a network that has some, at its published size."""
    student = parts.sections.get("student")
    if not isinstance(student, StudentConfig) or student.pretrained is None:
        return
    place: Place = ("student", "pretrained")
    if student.network not in LAYOUTS:
        allowed = listed(name for name in STUDENTS if name in LAYOUTS)
        yield place, f"no public weights are known for {student.network}", {"allowed": allowed}
    for name in ("width", "depth"):
        given = getattr(student.options, name, 1.0)
        if given != 1.0:
            problem = "public weights have the published size; remove the key, or pretrained"
            yield ("student", "options", name), problem, {"given": f"{given:g}", "allowed": "1"}
    if student.weights is not None:
        yield place, "the key weights gives all weights already; remove one of both", {}


def _files(parts: Parts) -> _Found:
    """Every file and folder in the recipe exists."""
    sections = [((key,), parts.sections.get(key)) for key in ("data", "student")]
    for key, section in [*sections, *teachers_in(parts.sections)]:
        for place, path in paths_in(section, key) if section is not None else ():
            if not path.exists():
                yield place, no_such_file(str(path.absolute())), {"given": str(path)}


def _factory(parts: Parts) -> _Found:
    """The user's factories can be imported and called."""
    for key, section in [*teachers_in(parts.sections), (("student",), parts.sections.get("student"))]:
        if not isinstance(section, FactoryTeacher | FactoryStudent):
            continue
        try:
            import_factory(section.factory)
        except Exception as error:  # importing user code may raise anything
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            yield (*key, "factory"), f"{kind}{error}", {}


def _from_teacher(parts: Parts) -> _Found:
    """A student that is the teacher has a teacher, which learns label columns only."""
    if not isinstance(parts.sections.get("student"), TeacherStudent) or "teacher" not in parts.sections:
        return
    teacher, data = parts.sections["teacher"], parts.sections.get("data")
    if teacher is None:
        if has_no_teacher(parts.sections):
            yield ("student", "from"), "the recipe has no section teacher", {}
    elif isinstance(teacher, FileTeacher):
        problem = "a file has no layers to prune or to quantize; give its network by teacher.factory"
        yield ("student", "from"), problem, {"given": str(teacher.file)}
    elif teacher.clip is not None:
        problem = (
            "the student is the teacher and sees the same clips; give frames and size in the section clip"
        )
        yield ("teacher", "clip"), problem, {}
    elif data is not None and not set(getattr(teacher, "tasks", None) or ()) <= set(data.labels):
        problem = "exported files have label columns only, but the teacher has other tasks"
        yield ("teacher", "tasks"), problem, {"allowed": listed(data.labels)}


def _layers(parts: Parts) -> _Found:
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


def _augmentations(parts: Parts) -> _Found:
    """Clips are mixed, masked and mirrored only where that makes sense."""
    data, clip, student = (parts.sections.get(key) for key in ("data", "clip", "student"))
    teachers = teachers_in(parts.sections)
    trainings = trainings_of(teachers, parts.stages)
    if clip is not None:
        has = tuple(name for name in MODALITIES if getattr(clip, name, True) is not None)
        inputs: dict[Place, tuple[str, ...]] = {
            place: tuple(teacher.inputs or has) for place, teacher in teachers
        }
        if student is not None:
            inputs[("student",)] = tuple(student.inputs or inputs.get(("teacher",), has))
        yield from mixes(trainings, inputs)
        yield from masks(trainings, has_audio="audio" in has)
    known = None if data is None else SOURCES[data.source].labels
    if known is not None:  # those of files are checked when the files are listed
        yield from flips(trainings, [(label.name, label.classes) for label in known(data)])


def _dot(parts: Parts) -> _Found:
    """The optimizer that separates labels and teacher trains a student with a teacher."""
    for place, config in trainings_of(teachers_in(parts.sections), parts.stages):
        if config.optimizer == "dot" and (place[0] != "stages" or has_no_teacher(parts.sections)):
            problem = "is for learning from a teacher, and there is none here; use sgd"
            yield (*place, "optimizer"), problem, {"given": "dot"}


def _runtimes(parts: Parts) -> _Found:
    """The runtime of a latency that pruning aims at is installed."""
    for index, entry in enumerate(parts.stages):
        config = None if entry is None else entry.config
        if not isinstance(config, PruneConfig) or (config.latency is None and config.latency_ms is None):
            continue
        if not installed(EXPORTERS[config.runtime].distributions):
            place: Place = ("stages", index, "prune", "runtime")
            problem = "the runtime is not installed, so that its latency cannot be measured"
            known = get_args(PruneConfig.model_fields["runtime"].annotation)
            able = [name for name in known if installed(EXPORTERS[name].distributions)]
            yield place, problem, {"given": config.runtime, "allowed": listed(able)}


def _networks(parts: Parts) -> _Found:
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
        if data is None or clip is None or student is None:
            continue
        built = build_without_weights(student, data=data, clip=clip, teacher=teacher)
        names = [name for name, _ in built[0].named_modules() if name] if built else []
        for position, problem in unmatched(patterns, names) if built else ():
            place: Place = ("stages", index, entry.verb, "float_layers", position)
            yield place, problem, {"given": patterns[position]}


def _metrics(parts: Parts) -> _Found:
    """The metric of every gate will be in the report."""
    data, student = (parts.sections.get(key) for key in ("data", "student"))
    export = parts.sections.get("export") or ExportConfig()
    measured = parts.sections.get("benchmark") or BenchmarkConfig()
    columns = tuple(getattr(data, "labels", ()))
    learned = tuple(getattr(student, "labels", None) or columns)
    if isinstance(student, TeacherStudent):
        only = parts.sections.get("teacher")
        learned = tuple(name for name in columns if name in (getattr(only, "tasks", None) or columns))
    models = {"student_float": learned}
    if "teacher" not in parts.sections:  # it has faults
        models["teacher"] = columns
    for key, teacher in teachers_in(parts.sections):
        tasks = getattr(teacher, "tasks", None) or getattr(teacher, "outputs", None) or columns
        models["_".join(map(str, key)).replace("teachers", "teacher")] = tuple(
            name for name in columns if name in tasks
        )
    if any(entry is None or getattr(entry.config, "baseline", False) for entry in parts.stages):
        models["student_labels_only"] = learned
    if any(verb in STAGES and STAGES[verb].gives is Form.QUANTIZED for verb in parts.verbs if verb):
        models["student_quantized"] = learned
    schemes = schemes_of(export, [entry for entry in parts.stages if entry])
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
    _pretrained,
    _of_teachers,
    _robustness,
    _files,
    _layers,
    _augmentations,
    _dot,
    _runtimes,
    _networks,
    _factory,
    _from_teacher,
    _float_layers,
    _metrics,
)

"""Step 4c: checks of the teachers of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.any_file import runtime_of
from compress.recipe.faults import listed, nearest
from compress.recipe.sections import AnyTeacher, FileTeacher, TableTeacher, TeacherStudent
from compress.recipe.source import Place
from compress.tasks import RETRIEVAL
from compress.teacher_settings import LAYOUTS
from compress.versions import installed
from models.spec import MODALITIES

Sections = Mapping[str, Any]
"""The valid sections of a recipe by name."""
Found = Iterator[tuple[Place, str, dict[str, str | None]]]


def teachers_in(sections: Sections) -> list[tuple[Place, AnyTeacher]]:
    """Every valid teacher with its place."""
    only, several = sections.get("teacher"), sections.get("teachers") or ()
    found: list[tuple[Place, AnyTeacher]] = [] if only is None else [(("teacher",), only)]
    return found + [(("teachers", index), one) for index, one in enumerate(several)]


def has_no_teacher(sections: Sections) -> bool:
    """Whether the recipe certainly has no teacher."""
    return sections.get("teacher", ...) is None and sections.get("teachers", ...) == ()


def several_or_one(sections: Sections) -> Found:
    """One teacher or several; a single one has no weight."""
    only, several = sections.get("teacher"), sections.get("teachers")
    if only is not None and several:
        yield ("teachers",), "the recipe also has the section teacher; keep one of both", {}
    elif only is not None and only.weight != 1:
        problem = (
            "is relative to other teachers and has no effect on a single one; see distillation.label_weight"
        )
        yield ("teacher", "weight"), problem, {"given": f"{only.weight:g}"}
    if several and isinstance(sections.get("student"), TeacherStudent):
        yield ("student", "from"), "the recipe has several teachers; the student can start from one alone", {}


def geometry(sections: Sections) -> Found:
    """The clips of a teacher cover the same span of time as those of the student."""
    clip = sections.get("clip")
    for key, teacher in teachers_in(sections):
        if clip is None or teacher.clip is None:
            continue
        if teacher.inputs is not None and "clip" not in teacher.inputs:
            yield (*key, "clip"), "the teacher has no video", {"given": f"inputs {listed(teacher.inputs)}"}
        try:
            teacher.clip.video(clip.video_spec())
        except ValueError as error:
            yield (*key, "clip", "frames"), str(error), {"given": str(teacher.clip.frames)}


def file_teachers(sections: Sections) -> Found:
    """The runtime of a file is installed; inputs and outputs are mapped completely."""
    data, student = sections.get("data"), sections.get("student")
    for key, teacher in teachers_in(sections):
        if not isinstance(teacher, FileTeacher):
            continue
        runtime = runtime_of(teacher.file)
        if not installed([runtime.distribution]):
            problem = f"{runtime.name} is not installed: {runtime.install}"
            yield (*key, "file"), problem, {"given": str(teacher.file)}
        columns: tuple[str, ...] = () if data is None else data.labels
        for name in teacher.outputs:
            if columns and name not in columns:
                more = {"given": name, "allowed": listed(columns), "nearest": nearest(name, columns)}
                yield (*key, "outputs", name), "the data has no such label column", more
        learned = getattr(student, "labels", None) or columns
        if learned and not set(learned) & set(teacher.outputs):
            problem = "the teacher shares no label column with the student"
            more = {"given": listed(teacher.outputs), "allowed": f"one or more of {listed(learned)}"}
            yield (*key, "outputs"), problem, more
        for name, one in teacher.inputs.items():
            axes, optional = LAYOUTS[name]
            layout = one.layout_of(name)
            place: Place = (*key, "inputs", name)
            if len(set(layout)) < len(layout) or not set(axes) - optional <= set(layout) <= set(axes):
                problem = f"names each axis of {axes} once, and may leave out {listed(sorted(optional))}"
                yield (*place, "layout"), problem, {"given": layout}
            elif name == "clip" and "T" not in layout and len(teacher.inputs) > 1:
                yield (*place, "layout"), "a file of single frames takes no other input", {"given": layout}
            pixels = [field for field in ("range", "mean", "std") if field in one.model_fields_set]
            if name != "clip" and pixels:
                yield (*place, pixels[0]), "applies to video only; see the section clip", {}


def tasks(sections: Sections) -> Found:
    """The tasks of the teacher exist in the data and include a label column of the student."""
    for key, teacher in teachers_in(sections):
        if isinstance(teacher, TableTeacher) and sections.get("data") is not None:
            yield from _tasks_of(sections, key, teacher)


def _tasks_of(sections: Sections, key: Place, teacher: TableTeacher) -> Found:
    data = sections["data"]
    if teacher.pretrained is not None and teacher.network != "modular":
        problem = f"{teacher.network} has no video encoder with public weights; use the network modular"
        yield (*key, "pretrained"), problem, {"given": str(teacher.pretrained)}
    if teacher.tasks is None:
        return
    known = [*data.labels, *data.tags, RETRIEVAL]
    for name in teacher.tasks:
        if name not in known:
            more = {"allowed": listed(known), "nearest": nearest(name, known)}
            yield (*key, "tasks", name), "the data has no column for this task", more
    place: Place = (*key, "tasks")
    taught = [name for name in teacher.tasks if name in data.labels]
    student = sections.get("student")
    learned = data.labels if student is None or student.labels is None else student.labels
    if not set(taught) & set(learned):
        problem = "the teacher shares no label column with the student"
        yield place, problem, {"given": listed(teacher.tasks), "allowed": f"one or more of {listed(learned)}"}
    clip = sections.get("clip")
    if RETRIEVAL in teacher.tasks and clip is not None:
        inputs = teacher.inputs or [name for name in MODALITIES if getattr(clip, name, True) is not None]
        if "text" not in inputs or set(inputs) == {"text"}:
            problem = "compares captions with video or audio, but the teacher does not have both inputs"
            given = f"inputs {listed(inputs)}"
            yield (
                (*key, "tasks", RETRIEVAL),
                problem,
                {"given": given, "allowed": "text and clip or audio"},
            )

"""Step 4b: checks of the student of a recipe against its other sections."""

from __future__ import annotations

from compress.recipe.faults import listed
from compress.recipe.parts import Found, Parts
from compress.recipe.sections import (
    FileTeacher,
    StudentConfig,
    TeacherStudent,
    output_scheme,
)
from compress.recipe.source import Place
from compress.recipe.teacher_checks import (
    has_no_teacher,
)
from export import QUANTIZED_BY_OTHERS
from export.quantize.weight_only import WEIGHT_SCHEMES
from models import STUDENTS
from models.checkpoints import LAYOUTS


def stream(parts: Parts) -> Found:
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


def pretrained(parts: Parts) -> Found:
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


def from_teacher(parts: Parts) -> Found:
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

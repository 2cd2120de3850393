"""What a teacher sees and predicts, from its section and the spec of the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from compress.clip import ClipConfig
from compress.recipe.sections import AnyTeacher, FileTeacher, TableTeacher
from compress.tasks import with_tasks
from models.spec import ClipSpec, VideoSpec


def teacher_spec(teacher: AnyTeacher, data: ClipSpec) -> ClipSpec:
    """The inputs and tasks of a teacher. Raises `ValueError` for a geometry that cannot match that of the data."""
    if teacher.clip is not None and data.video is not None:
        data = replace(data, video=teacher.clip.video(data.video))
    if isinstance(teacher, FileTeacher):
        labels = tuple(label.name for label in data.labels if label.name in teacher.outputs)
        return data.only(tuple(teacher.inputs), labels=labels)
    inputs = teacher.inputs or data.inputs
    if isinstance(teacher, TableTeacher) and teacher.tasks:
        return with_tasks(data, inputs, list(teacher.tasks))
    return data.only(inputs)


def geometries(teachers: Iterable[AnyTeacher], clip: ClipConfig) -> tuple[VideoSpec, ...]:
    """The frames and pixels of teachers that see other ones than the student."""
    return tuple(one.clip.video(clip.video_spec()) for one in teachers if one.clip is not None)

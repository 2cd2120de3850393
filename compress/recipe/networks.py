"""Step 4b: checks that teacher and student fit the clips and the memory of this machine.

Networks are built on torch's meta device, which needs no memory, so that a mismatch is reported by the code of the
network itself, before hours of work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from compress.command.lines import first_line
from compress.recipe.compose import Place
from compress.recipe.sections import StudentConfig, TableTeacher, TeacherStudent
from compress.recipe.teacher_spec import teacher_spec
from models import STUDENTS, TEACHERS
from models.counts import count_parameters
from models.spec import MODALITIES, AudioSpec, ClipSpec, LabelSpec, TextSpec

_Found = Iterator[tuple[Place, str, dict[str, str | None]]]

_WORDS = 1_000
"""Largest size of the placeholder vocabulary, as that of the data is not known yet."""
_NUMBER_BYTES = 4
_COPIES = 4
"""Copies of every weight during training: the weight, its gradient and the two moments of AdamW."""


def check_networks(
    *,
    data: Any,
    clip: Any,
    teachers: Iterable[tuple[Place, Any]],
    student: StudentConfig | None,
    batches: dict[Place, int],
) -> _Found:
    """Yields faults of the networks for these clips. `batches` has the clips per step by place in the recipe;
    places below that of a teacher belong to it, those of stages to the student."""
    if data is None or clip is None:
        return
    spec = _provisional(data, clip)
    chosen: list[tuple[Place, StudentConfig | TableTeacher, Any]] = []
    if isinstance(student, StudentConfig):
        chosen.append((("student",), student, STUDENTS))
    chosen += [
        (place, teacher, TEACHERS)
        for place, teacher in teachers
        if isinstance(teacher, TableTeacher) and not _is_foreign(teacher)
    ]
    # Networks of users are checked later, with the real classes (`compress/steps/try_networks.py`).
    for key, section, table in chosen:
        try:
            own = _inputs_of(section, spec)
            with torch.device("meta"):
                model = table[section.network].build(own, section.options).eval()
        except ValueError as error:
            yield (*key, "network"), f"cannot be built for these clips: {error}", {"given": section.network}
            continue
        weights = count_parameters(model) * _NUMBER_BYTES * _COPIES
        if weights > memory_bytes():
            problem = f"its weights, gradients and moments take {_gb(weights)}"
            yield (*key, "network"), problem, _allowed(section.network)
            continue
        try:
            each = _kept_bytes(model, own)
        except NotImplementedError:  # an operator without a meta kernel: checked when it runs
            continue
        except RuntimeError as error:
            if "meta" not in str(error):
                problem = f"cannot run on these clips: {first_line(error)}"
                yield (*key, "network"), problem, {"given": section.network}
            continue
        for place, batch in batches.items():
            owner: Place = ("student",) if place[0] == "stages" else place[: len(key)]
            if owner == key and weights + each * batch > memory_bytes():
                problem = (
                    f"a step takes about {_gb(weights + each * batch)}; lower batch, or use smaller clips"
                )
                yield place, problem, _allowed(str(batch))


def build_without_weights(
    section: Any, *, data: Any, clip: Any, teacher: Any
) -> tuple[nn.Module, ClipSpec] | None:
    """The network of a section on the meta device, and its spec; None for one that only the run can build.

    A student that is the teacher is the network of `teacher`.
    """
    if isinstance(section, TeacherStudent):
        section = teacher
    if not isinstance(section, StudentConfig | TableTeacher) or (
        isinstance(section, TableTeacher) and _is_foreign(section)
    ):
        return None
    spec = _inputs_of(section, _provisional(data, clip))
    table: Any = STUDENTS if isinstance(section, StudentConfig) else TEACHERS
    try:
        with torch.device("meta"):
            return table[section.network].build(spec, section.options).eval(), spec
    except ValueError:  # a fault of its own
        return None


def memory_bytes() -> int:
    """Memory of this machine, or of its largest accelerator if that has more."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if torch.cuda.is_available():
        sizes += [torch.cuda.get_device_properties(k).total_memory for k in range(torch.cuda.device_count())]
    return max(sizes)


def _allowed(given: str) -> dict[str, str | None]:
    return {"given": given, "allowed": f"at most the {_gb(memory_bytes())} of this machine"}


def _is_foreign(teacher: TableTeacher) -> bool:
    """Whether the teacher uses another package, which takes seconds to import."""
    return getattr(getattr(teacher.options, "video", None), "name", None) == "huggingface"


def _inputs_of(section: StudentConfig | TableTeacher, spec: ClipSpec) -> ClipSpec:
    if isinstance(section, StudentConfig):
        return spec.only(section.inputs, labels=section.labels)
    return teacher_spec(section, spec)


def _provisional(data: Any, clip: Any) -> ClipSpec:
    """The spec of the clips from the recipe alone, with two classes per column and a placeholder vocabulary."""
    text = None
    if clip.text is not None:
        words = tuple(map(str, range(min(clip.text.max_words, _WORDS))))
        text = TextSpec(length=clip.text.length, vocabulary=words)
    return ClipSpec(
        video=clip.video_spec(),
        audio=AudioSpec(**clip.audio.model_dump()) if clip.audio else None,
        text=text,
        labels=tuple(LabelSpec(name=name, classes=("a", "b")) for name in data.labels),
        tags=tuple(LabelSpec(name=name, classes=("a", "b")) for name in data.tags),
    )


def _kept_bytes(model: nn.Module, spec: ClipSpec) -> int:
    """Lower bound of the activation memory of one clip in a training step: outputs of layers with weights."""
    kept = 0

    def add(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal kept
        outputs = output if isinstance(output, tuple) else (output,)
        kept += sum(one.numel() for one in outputs if isinstance(one, Tensor)) * _NUMBER_BYTES

    hooks = [
        module.register_forward_hook(add)
        for module in model.modules()
        if not list(module.children()) and list(module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            model(*_shapes(spec))
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def _shapes(spec: ClipSpec) -> tuple[Tensor, ...]:
    """Inputs of one clip on the meta device."""
    return tuple(
        torch.empty(spec.shape(name), dtype=torch.int64 if name == "text" else torch.float32, device="meta")
        for name in MODALITIES
        if name in spec.inputs
    )


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.1f} GB"

"""Step 4b: checks that teacher and student fit the clips and the memory of this machine.

Networks are built on torch's meta device, which needs no memory, so that a mismatch is reported by the code of the
network itself, before hours of work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from compress.command.lines import first_line
from compress.recipe.compose import Place
from compress.recipe.sections import StudentConfig, TableTeacher, TeacherStudent
from compress.tasks import with_tasks
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
    *, data: Any, clip: Any, teacher: Any, student: StudentConfig | None, batches: dict[Place, int]
) -> _Found:
    """Yields faults of the networks for these clips. `batches` has the clips per step by place in the recipe;
    places below `teacher` belong to the teacher, others to the student."""
    if data is None or clip is None:
        return
    spec = _provisional(data, clip)
    chosen: list[tuple[str, StudentConfig | TableTeacher, Any]] = []
    if isinstance(student, StudentConfig):
        chosen.append(("student", student, STUDENTS))
    if isinstance(teacher, TableTeacher) and not _is_foreign(teacher):
        chosen.append(("teacher", teacher, TEACHERS))
    # A teacher with a factory is checked later, with the real classes (`compress/steps/try_networks.py`).
    for key, section, table in chosen:
        try:
            own = _inputs_of(section, spec)
            with torch.device("meta"):
                model = table[section.network].build(own, section.options).eval()
        except ValueError as error:
            yield (key, "network"), f"cannot be built for these clips: {error}", {"given": section.network}
            continue
        weights = count_parameters(model) * _NUMBER_BYTES * _COPIES
        if weights > memory_bytes():
            problem = f"its weights, gradients and moments take {_gb(weights)}"
            yield (key, "network"), problem, _allowed(section.network)
            continue
        try:
            each = _kept_bytes(model, own)
        except NotImplementedError:  # an operator without a meta kernel: checked when it runs
            continue
        except RuntimeError as error:
            if "meta" not in str(error):
                problem = f"cannot run on these clips: {first_line(error)}"
                yield (key, "network"), problem, {"given": section.network}
            continue
        for place, batch in batches.items():
            if (place[0] == "teacher") == (key == "teacher") and weights + each * batch > memory_bytes():
                problem = (
                    f"a step takes about {_gb(weights + each * batch)}; lower batch, or use smaller clips"
                )
                yield place, problem, _allowed(str(batch))


def module_names(
    *, data: Any, clip: Any, teacher: Any, student: StudentConfig | TeacherStudent
) -> list[str] | None:
    """Paths of all modules of the student; None if it cannot be built here, or comes from a user's factory."""
    section, table = (teacher, TEACHERS) if isinstance(student, TeacherStudent) else (student, STUDENTS)
    if not isinstance(section, StudentConfig | TableTeacher) or data is None or clip is None:
        return None
    if isinstance(section, TableTeacher) and _is_foreign(section):
        return None
    try:
        with torch.device("meta"):
            own = _inputs_of(section, _provisional(data, clip))
            model: nn.Module = table[section.network].build(own, section.options)
    except ValueError:  # reported by `check_networks`
        return None
    return [name for name, _ in model.named_modules() if name]


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
    inputs = section.inputs or spec.inputs
    return with_tasks(spec, inputs, list(section.tasks)) if section.tasks else spec.only(inputs)


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
